"""Phantoms a second on one core, and the most memory that the process held: `python benchmarks/phantom.py`."""

import resource
import time

from canicor.memory import FILMS, keep_freed_memory
from canicor.phantom import draw

SECONDS = 5.0


def images_per_second(side: int) -> float:
    draw(0, 0, width=side, height=side)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        count += 1
        draw(0, count, width=side, height=side)
    return count / (time.perf_counter() - start)


def main() -> None:
    # As the processes do that draw them for `canicor phantom` and the generator.
    keep_freed_memory(FILMS)
    for side in (256, 512, 1024, 3000):
        print(f"{side} x {side}: {images_per_second(side):.2f} images/s")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
