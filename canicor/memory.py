"""Memory that was freed is kept for what comes next."""

import ctypes

# mallopt(3). glibc hands back what lies free at a heap's end beyond a threshold that starts at 128 KiB, and any
# block of some MiB at once; whoever needs it again faults every page in anew.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

REQUESTS = 256 * 2**20
"""What a server keeps: page faults would take several times what gRPC itself does (benchmarks/calls.py). Blocks of
an eighth of it, such as a model's weights, still go back at once."""

FILMS = 2**30
"""What a process keeps that draws phantoms: a map of 4096 x 4096 pixels is 64 MiB, and page faults would take half
of the time of large films (benchmarks/phantom.py)."""


def keep_freed_memory(most: int) -> None:
    """Has the allocator keep so many bytes a heap for reuse; does nothing where the C library is not glibc.

    Args:
        most: Bytes; blocks of an eighth of it and more are handed back when they are freed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, most // 8)
        mallopt(_M_TRIM_THRESHOLD, most)


def give_back() -> None:
    """Hands what lies free back to the system, as after a model was dropped; does nothing as above."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim:
        malloc_trim(0)
