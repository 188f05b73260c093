"""5,000 hostile files and pydicom's test files to a real server: `python -m benchmarks.hostile_files`.

Each must get an answer or a status that says what is wrong, within two seconds; the server must stay up, the same
process, and need no more memory at the end than before. Needs Linux. Ends with status 1 where one of it fails.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pydicom.data
from pydicom.data.download import get_url_map

from canicor.client import Classifier
from canicor.errors import CanicorError
from canicor.model_repository import ModelRepository
from canicor.store import file_url
from tests import hostile, toy_models
from tests.png import gradient
from tests.servers import Server

SEED = 20
LONGEST_SECONDS = 2.0
MAY_GROW = 1.05
"""Times the most memory in the first half, for the median in the last quarter."""
SAMPLES = 100
CLEAR = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
"""What a hostile file may get instead of an answer."""


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        file: Its format, or its name.
        result: `OK`, or status and reason.
        seconds: That it took.
    """

    file: str
    result: str
    seconds: float

    @property
    def is_clear(self) -> bool:
        """Whether the file was answered or refused for a reason."""
        return self.result == "OK" or self.result.split()[0] in CLEAR


def of_pydicom() -> Iterator[tuple[str, bytes]]:
    """Yields the test files that come with pydicom, with their names."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".py":
            yield path.name, path.read_bytes()


def send(classifier: Classifier, name: str, data: bytes) -> Outcome:
    started = time.perf_counter()
    try:
        classifier.classify(data)
        result = "OK"
    except CanicorError as error:
        result = f"{error.status} {error.reason}"
    return Outcome(name, result, time.perf_counter() - started)


def memory(process: int) -> float:
    """Returns the resident MiB of a process and its descendants, what they share counted once."""
    family = [process, *descendants(process)]
    sizes = [re.search(r"Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text()) for one in family]
    return sum(int(size[1]) for size in sizes if size) / 1024


def descendants(process: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{process}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [one for child in children for one in (child, *descendants(child))]


def report(outcomes: list[Outcome]) -> None:
    for result, count in Counter(one.result for one in outcomes).most_common():
        print(f"{count:6} {result}")
    slowest = sorted(outcomes, key=lambda one: -one.seconds)[:10]
    print("slowest:", "; ".join(f"{one.seconds:.2f} s {one.file} {one.result}" for one in slowest))


def failures(outcomes: list[Outcome], early: float, late_on: float) -> Iterator[str]:
    unclear = Counter(f"{one.file}: {one.result}" for one in outcomes if not one.is_clear)
    yield from (f"no clear status for {count} files: {what}" for what, count in unclear.items())
    late = sum(one.seconds > LONGEST_SECONDS for one in outcomes)
    if late:
        yield f"{late} files took over {LONGEST_SECONDS:g} s"
    if late_on > MAY_GROW * early:
        yield "memory grows"


def main() -> None:
    parser = argparse.ArgumentParser(description="Sends hostile files to a server.")
    parser.add_argument("--count", type=int, default=5000, help="mutated files (default 5000)")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        toy_models.push(ModelRepository(file_url(home / "models")))
        server = Server("classifier", home, {"CANICOR_LOG_LEVEL": "warning"}, {}).start()
        try:
            sys.exit(contest(server, Path(folder), count))
        finally:
            server.stop()


def contest(server: Server, folder: Path, count: int) -> int:
    assert server.process is not None
    outcomes: list[Outcome] = []
    sizes = []
    with Classifier(server.client_settings()) as classifier:
        known = list(of_pydicom())
        outcomes += [send(classifier, *file) for file in known]
        for index, file in enumerate(hostile.files(count, SEED, folder)):
            if index % max(1, count // SAMPLES) == 0:
                sizes.append(memory(server.process.pid))
            outcomes.append(send(classifier, *file))
        last = send(classifier, "intact", gradient())
    missing = len(set(get_url_map()) - {name for name, _ in known})
    print(f"{count} mutated files, seed {SEED}; {len(known)} of pydicom's, {missing} more would be downloads")
    report(outcomes)
    early, late_on = max(sizes[: len(sizes) // 2]), median(sizes[3 * len(sizes) // 4 :])
    print(f"memory: {early:.0f} MiB at most in the first half, {late_on:.0f} MiB in the last quarter")
    wrong = list(failures(outcomes, early, late_on))
    if server.process.poll() is not None or last.result != "OK":
        wrong.append("the server does not answer any more")
    for one in wrong:
        print("WRONG:", one)
    return len(wrong) > 0


if __name__ == "__main__":
    main()
