"""Memory that one request frees is kept for the next."""

import ctypes

# mallopt(3). glibc hands back what lies free at a heap's end beyond a threshold that starts at 128 KiB, and the
# next radiograph faults every page in anew: several times what gRPC itself costs (benchmarks/calls.py). Blocks of
# the mmap threshold and more, such as a model's weights, still go back at once; 32 MiB is the most that glibc
# would come to by itself.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 256 * 2**20
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 32 * 2**20


def keep_freed_memory() -> None:
    """Has the allocator keep up to 256 MiB a heap for reuse; does nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def give_back() -> None:
    """Hands what lies free back to the system, as after a model was dropped; does nothing as above."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim:
        malloc_trim(0)
