"""The classifier beside its peers and raw ONNX Runtime: `python benchmarks/serving [--only KEY ...] [--rounds N]`.

EfficientNet-B0 at 224 with random weights; JPEG radiographs in, class probabilities out. Each contestant is a
server of its own, asked over loopback by clients in this process, on the same two cores. Raw decodes and infers in
this process, before and after each of them, since a machine's speed drifts: ratios are to the means of the two.
Prints a table in Markdown, of medians where there are several rounds.
"""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path

from comparison import NotMeasured, Result, compare, table
from contestants import CANICOR, CANICOR_FP32, Contestant, Place, free_address
from load import NewWork, Work, measure, measure_raw
from meter import Row
from model import SIDE, build, push, repository_of
from peer_servers import PEERS
from processes import NotRunning, apart, own, running
from radiographs import Radiographs, jpegs, truth
from raw import raw
from report import machine, parser

CORES = 2
CLIENTS = (1, 8, 32)
CONTESTANTS = {contestant.key: contestant for contestant in (CANICOR, CANICOR_FP32, *PEERS)}

RAW_SHARE = 0.5
"""Of a contestant's seconds, for each of raw's."""


def contest_raw(model: bytes, new_work: NewWork, seconds: float) -> list[Row]:
    """Measures raw at its best: one core each for the most answers, all cores for the soonest one.

    Spinning helps the one and harms where other threads want the core; so both are tried for the lone one.
    """
    threads = [(CORES, 1, False), (1, CORES, False), (1, CORES, True)]
    return [measure_raw(model, new_work, *each, RAW_SHARE * seconds) for each in threads]


def contest(contestant: Contestant, model: bytes, new_work: NewWork, file: bytes, seconds: float) -> list[Row]:
    """Measures one contestant with each number of clients."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), Path(folder) / "model.onnx", free_address())
        place.model.write_bytes(model)
        push(repository_of(place.home), model, SIDE)
        launch = contestant.launch(place)
        answers = partial(_asked_once, contestant, place, file)
        with running(launch.command, answers, place.home / "log", launch.environment) as pid:
            return [asyncio.run(measure(contestant, place, pid, new_work, n, seconds)) for n in CLIENTS]


async def _asked_once(contestant: Contestant, place: Place, file: bytes) -> None:
    async with contestant.connect(place) as ask:
        await ask(file)


def contest_all(
    contestants: Sequence[Contestant], model: bytes, new_work: NewWork, file: bytes, seconds: float
) -> list[Result]:
    """Measures contestants one after the other, with raw between them."""
    before = contest_raw(model, new_work, seconds)
    results: list[Result] = [compare(row, [before]) for row in before]
    for contestant in contestants:
        try:
            rows = contest(contestant, model, new_work, file, seconds)
        except NotRunning as error:
            results.append(NotMeasured(contestant.name, str(error)))
            continue
        after = contest_raw(model, new_work, seconds)
        results += [compare(row, [before, after]) for row in rows] + [compare(row, [after]) for row in after]
        before = after
    return results


def main() -> None:
    options = parser("Measures the classifier beside its peers and raw ONNX Runtime.")
    options.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help="contestants")
    options.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default 10)")
    options.add_argument("--rounds", type=int, default=1, help="how often all is measured (default 1)")
    arguments = options.parse_args()
    own(CORES)
    with apart() as helper:
        model = helper.submit(build, SIDE).result()
    radiographs = Radiographs(jpegs())
    (expected,) = truth([raw(model, CORES)], radiographs.samples)
    new_work = partial(Work, radiographs, expected)
    contestants = [CONTESTANTS[key] for key in arguments.only]
    file = radiographs.samples[0].file
    rounds = [contest_all(contestants, model, new_work, file, arguments.seconds) for _ in range(arguments.rounds)]
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(table(chain.from_iterable(rounds)))
    if arguments.json:
        record = {
            "machine": machine(),
            "seconds": arguments.seconds,
            "rounds": [[asdict(result) for result in results] for results in rounds],
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
