"""What a second worker is worth, and Ray beside the generator's own: `python -m benchmarks.executors [--count N]`.

The same batch of phantoms of the default size, judged as they are made, by one local process, by two, and by two
actors of Ray on this machine; images a second from the first that is stored to the last. Each server first makes a
batch that is not counted, and the three take turns, so that a machine whose speed drifts favours none of them.
Wanted are 1.8 times one process from two, and 0.85 of these from Ray; the exit status is 1 where that is missed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from tests.servers import Server

CONTESTANTS = {
    "local, 1 process": {"CANICOR_WORKERS": "1"},
    "local, 2 processes": {"CANICOR_WORKERS": "2"},
    "Ray, 2 actors": {"CANICOR_WORKERS": "2", "CANICOR_EXECUTOR": "ray", "RAY_AUTH_MODE": "disabled"},
}
WARM_UP = 16
LEAST_OF_TWO, LEAST_OF_RAY = 1.8, 0.85


@contextmanager
def generator(name: str, folder: Path) -> Iterator[GeneratorServiceStub]:
    settings = {**CONTESTANTS[name], "CANICOR_SHIPPED_MODEL": "true", "CANICOR_LOG_LEVEL": "warning"}
    server = Server("generator", folder / name.replace(" ", "-"), settings, {}).start()
    try:
        with server.channel() as channel:
            yield GeneratorServiceStub(channel)
    finally:
        server.terminate()


def watched(stub: GeneratorServiceStub, request_id: str, count: int) -> Iterator[tuple[float, int]]:
    """Has a batch made, and yields when how many of its images were stored, from the first on."""
    request = pb.CreateBatchRequest(request_id=request_id, portions=[pb.Portion(count=count)], seed=1)
    batch = stub.CreateBatch(request).batch
    for update in stub.WatchBatch(pb.WatchBatchRequest(batch_id=batch.id)):
        batch = update.batch
        if batch.completed_count:
            yield time.perf_counter(), batch.completed_count
    if batch.state != pb.BATCH_STATE_SUCCEEDED:
        raise SystemExit(f"The batch ended early: {batch.error}")


def images_per_second(stub: GeneratorServiceStub, request_id: str, count: int) -> float:
    seen = list(watched(stub, request_id, count))
    (began, first), (ended, last) = seen[0], next(one for one in seen if one[1] == count)
    return (last - first) / (ended - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the generator's executors.")
    parser.add_argument("--count", type=int, default=160, help="images a batch; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    asked = parser.parse_args()
    speeds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        stubs = {name: servers.enter_context(generator(name, Path(folder))) for name in CONTESTANTS}
        for stub in stubs.values():
            list(watched(stub, "warm-up", WARM_UP))
        for turn in range(asked.rounds):
            for name, stub in stubs.items():
                speeds[name].append(images_per_second(stub, f"turn-{turn}", asked.count))
    for name, some in speeds.items():
        print(f"{name}: {median(some):.2f} images/s ({min(some):.2f} to {max(some):.2f})")
    one, two, ray = speeds.values()
    of_two = median(b / a for a, b in zip(one, two, strict=True))
    of_ray = median(b / a for a, b in zip(two, ray, strict=True))
    print(f"two processes to one: {of_two:.2f}; Ray to two processes: {of_ray:.2f}")
    sys.exit(of_two < LEAST_OF_TWO or of_ray < LEAST_OF_RAY)


if __name__ == "__main__":
    main()
