"""An hour of what a hospital may send: `python benchmarks/serving/soak.py [--minutes 60] [--progress FILE] &`.

Calls come evenly at 70 % of the capacity, which is measured first with the same mix: JPEG, PNG, DICOM as it is and
in JPEG-LS, one file in 25 that is no radiograph, and one client in 50 that hangs up soon. Every five minutes a new
version goes into production. Anything is an error that does not end as it should: every radiograph with the right
answer, every other file with INVALID_ARGUMENT. Resident memory is that of the server and its helpers. Its growth
is from the second twelfth of the time (minutes 5 to 10 of an hour) to the last, by their medians. Progress goes to
a file, a line a minute; the findings come at the end.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from classifier import Classifier, Memory, serving
from clients import Calls, Plan, closed, paced
from model import SIDE, build, variants
from processes import apart, own
from radiographs import Sample, bad, jpegs, lossless, truth
from raw import raw
from report import Finding, parser, report

CORES, CLIENTS, VERSIONS = 2, 8, 2
LOAD = 0.7
DEADLINE, PATIENCE, IMPATIENT = 30.0, 0.02, 50
WARM_UP_SECONDS, CAPACITY_SECONDS, MEMORY_SECONDS, RELOAD_SECONDS = 5.0, 20.0, 10.0, 300.0
WINDOWS = 12
LARGEST_GROWTH = 0.01

_SEED = 0


def mix() -> list[Sample]:
    """Returns a hundred samples in a mixed order: 64 JPEG, 16 PNG, 8 DICOM, 8 DICOM in JPEG-LS, 4 of no use."""
    png, dicom, compressed = lossless()
    samples = [*jpegs() * 8, *[png] * 16, *[dicom] * 8, *[compressed] * 8, *bad()]
    random.Random(_SEED).shuffle(samples)  # noqa: S311
    return samples


class Soak:
    """The load of one soak, minute by minute.

    Args:
        server: Bears it.
        helper: Runs the clients.
        plan: What they send.
        rate: Calls a second.
        progress: Takes a line a minute.
    """

    def __init__(
        self, server: Classifier, helper: Executor, plan: Plan, rate: float, progress: Callable[[str], None]
    ) -> None:
        self._server, self._helper, self._plan, self._rate = server, helper, plan, rate
        self._progress = progress
        self.ended: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.reloads = 0
        self.versions: set[str] = set()

    def run(self, models: Sequence[bytes], seconds: float, memory: Memory) -> None:
        """Loads the server for so long, and puts the next of the models in production every few minutes."""
        start = reloaded = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            calls = self._helper.submit(
                paced, self._server.target, self._plan, self._rate, min(60.0, start + seconds - now)
            )
            if now - reloaded >= RELOAD_SECONDS:
                self.reloads += 1
                self._server.push(models[self.reloads % len(models)])
                reloaded = now
            self._count(calls.result())
            minutes = (time.perf_counter() - start) / 60
            self._progress(
                f"{minutes:.1f} min, {memory.samples[-1][1]:.1f} MiB, {dict(self.ended)}, "
                f"unexpected {dict(self.unexpected)}, versions {sorted(self.versions, key=int)}"
            )

    def _count(self, calls: Calls) -> None:
        self.ended += calls.statuses()
        self.unexpected += Counter(f"{one.sample}: {one.status}" for one in calls.outcomes if not one.as_expected)
        self.versions |= {one.version for one in calls.outcomes if one.version}


def findings(soak: Soak, memory: Memory, start: float, end: float) -> list[Finding]:
    """Says how the calls ended and how much memory grew."""
    window = (end - start) / WINDOWS
    early = memory.median(start + window, start + 2 * window)
    late = memory.median(end - window, end)
    most = max(memory.between(start, end))
    growth = late / early - 1
    return [
        Finding("calls", f"{soak.ended.total()} in {(end - start) / 60:.1f} min: {dict(soak.ended)}"),
        Finding(
            "that ended otherwise than they should", str(dict(soak.unexpected) or 0), "0", not soak.unexpected
        ),
        Finding(
            "versions that answered",
            f"{len(soak.versions)}",
            f"{soak.reloads + 1}",
            len(soak.versions) == soak.reloads + 1,
        ),
        Finding(
            f"resident memory, second and last of {WINDOWS} windows, most",
            f"{early:.1f}, {late:.1f}, {most:.1f} MiB: {growth:+.2%}",
            f"grows by less than {LARGEST_GROWTH:.0%}",
            growth < LARGEST_GROWTH,
        ),
    ]


def main() -> int:
    options = parser("Loads the classifier for long, with all that may come.")
    options.add_argument("--minutes", type=float, default=60.0, help="how long (default 60)")
    options.add_argument(
        "--progress", type=Path, help="where the lines go that tell of progress; printed if left out"
    )
    options.add_argument("--input", type=int, default=SIDE, help=f"rows and columns of the input (default {SIDE})")
    arguments = options.parse_args()
    own(CORES)
    with apart() as helper:
        models = helper.submit(variants, helper.submit(build, arguments.input).result(), VERSIONS).result()
    samples = mix()
    plan = Plan(samples, truth([raw(model, CORES) for model in models], samples), DEADLINE)
    impatient = replace(plan, impatient=IMPATIENT, patience=PATIENCE)

    def progress(line: str) -> None:
        if not arguments.progress:
            print(line, flush=True)
            return
        with arguments.progress.open("a") as file:
            file.write(f"{line}\n")

    with apart() as helper, serving(models[0], arguments.input) as server:
        helper.submit(closed, server.target, plan, CLIENTS, WARM_UP_SECONDS).result()
        calls = helper.submit(closed, server.target, plan, CLIENTS, CAPACITY_SECONDS).result()
        capacity = sum(one.ended <= calls.end for one in calls.outcomes) / CAPACITY_SECONDS
        progress(f"capacity {capacity:.1f} calls/s, load {LOAD * capacity:.1f} calls/s")
        soak = Soak(server, helper, impatient, LOAD * capacity, progress)
        with Memory(server.pid, MEMORY_SECONDS) as memory:
            start = time.perf_counter()
            soak.run(models, 60 * arguments.minutes, memory)
            end = time.perf_counter()
    load = Finding("capacity, load", f"{capacity:.1f}, {LOAD * capacity:.1f} calls/s")
    return report([load, *findings(soak, memory, start, end)], arguments.json)


if __name__ == "__main__":
    sys.exit(main())
