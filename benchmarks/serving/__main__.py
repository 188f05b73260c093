"""The classifier beside raw ONNX Runtime: `python benchmarks/serving [--seconds 10] [--json FILE]`.

EfficientNet-B0 at 224 with random weights; JPEG radiographs in, class probabilities out. Raw decodes and infers in
this process, first and last, since a machine's speed drifts; each contestant is a server of its own, asked over
loopback by clients in this process, on the same two cores. Needs Linux and timm.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from contestants import CONTESTANTS, Contestant, Place, free_address
from load import RAW, NewWork, Radiographs, Work, measure, measure_raw
from meter import Row
from model import build, push, raw

CORES = 2
CLIENTS = (1, 8, 32)
START_SECONDS, STOP_SECONDS = 60.0, 30.0


def contest_raw(model: bytes, new_work: NewWork, seconds: float) -> list[Row]:
    return [measure_raw(model, new_work, *threads, seconds) for threads in ((CORES, 1), (1, CORES))]


def contest(contestant: Contestant, model: bytes, new_work: NewWork, file: bytes, seconds: float) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), free_address())
        push(place.folder, model)
        with running(contestant, place, file) as pid:
            return [asyncio.run(measure(contestant, place, pid, new_work, n, seconds)) for n in CLIENTS]


@contextmanager
def running(contestant: Contestant, place: Place, file: bytes) -> Iterator[int]:
    """Runs a contestant until the end of the block, and yields its process id once it answers."""
    log = place.folder / "log"
    with log.open("wb") as output:
        command = contestant.command(place)
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        if not asyncio.run(_comes_to_answer(contestant, place, process, file)):
            sys.exit(f"{contestant.name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _comes_to_answer(
    contestant: Contestant, place: Place, process: subprocess.Popen[bytes], file: bytes
) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(Exception):
            async with contestant.connect(place) as ask:
                await ask(file)
                return True
        await asyncio.sleep(0.5)
    return False


def table(rows: list[Row]) -> str:
    """Returns the measurements as Markdown, with their ratios to the means of raw (alone for p50)."""
    raw_rows = [row for row in rows if row.name.startswith(RAW)]
    per_second = fmean(row.per_second for row in raw_rows if row.at_once == CORES)
    cpu = fmean(row.cpu for row in raw_rows if row.at_once == CORES)
    p50 = fmean(row.p50 for row in raw_rows if row.at_once == 1)
    heads = "server, at once, images/s, of raw, p50 ms, of raw lone, p99 ms, CPU ms/image, of raw, failed, RSS MiB"
    lines = [[*heads.split(", "), "others' CPU"], ["---"] * 12]
    for row in rows:
        slower = f"{row.p50 / p50:.2f}" if row.at_once == 1 else ""
        failed = ", ".join(f"{count} {kind}" for kind, count in row.failures.items()) or "0"
        speed = [f"{row.per_second:.1f}", f"{row.per_second / per_second:.2f}", f"{row.p50:.1f}", slower]
        cost = [f"{row.p99:.1f}", f"{row.cpu:.1f}", f"{row.cpu / cpu:.2f}", failed, f"{row.rss:.0f}"]
        lines.append([row.name, str(row.at_once), *speed, *cost, f"{row.others:.0%}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> dict[str, str]:
    """Returns what the figures depend on."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    return {
        "CPU": f"{cpu.partition(': ')[2]}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("onnxruntime", "grpcio", "numpy", "pillow")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the classifier beside raw ONNX Runtime.")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default 10)")
    parser.add_argument("--json", type=Path, help="where to write the figures as well")
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("CANICOR_")]:
        del os.environ[name]
    # So that being stopped ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        try:
            model = apart.submit(build).result()
        except ModuleNotFoundError as error:
            sys.exit(f"{error.name} is needed to build the network: install Canicor's `training` extra and timm.")
    radiographs, infer = Radiographs(), raw(model, CORES)
    new_work = partial(Work, radiographs, [infer(file) for file in radiographs.files])
    rows = contest_raw(model, new_work, arguments.seconds)
    for contestant in CONTESTANTS:
        rows += contest(contestant, model, new_work, radiographs.files[0], arguments.seconds)
    rows += contest_raw(model, new_work, arguments.seconds)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(table(rows))
    if arguments.json:
        record = {"machine": machine(), "seconds": arguments.seconds, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
