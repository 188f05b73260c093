"""A batch of 20,000 phantoms whose server is killed: `python -m benchmarks.killed_batch [--ray] [--count N]`.

The batch is made undisturbed, then by a server that gets SIGKILL at three moments drawn by chance, and with
`--ray` once more by Ray on this machine, where actors are killed. At the end each image has to be there once,
no two images may be the same, and each has to have the bytes of the undisturbed batch. The memory of the server
itself, without its workers, is taken along the way, and may not grow by more than a tenth in the second half of
the undisturbed batch. Images are small, so that a batch takes some twenty minutes on two cores.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.store import read
from tests.servers import Server

SIDE = 64
KILLS = 3
SAMPLES = 40
MAY_GROW = 1.1
RAY = {"CANICOR_EXECUTOR": "ray", "RAY_AUTH_MODE": "disabled"}


def memory(server: Server) -> float:
    """Returns the resident MiB of the server's own process."""
    assert server.process is not None
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def digests(stub: GeneratorServiceStub, batch_id: str) -> Iterator[str]:
    """Yields the digest of each image's file, by index; files and list must agree."""
    token, more, expected = "", True, 0
    while more:
        page = stub.ListImages(pb.ListImagesRequest(batch_id=batch_id, page_size=1000, page_token=token))
        for image in page.images:
            assert image.index == expected, f"image {expected} is lost, or image {image.index} is there twice"
            assert hashlib.sha256(read(image.url)).hexdigest() == image.sha256, f"image {expected} is damaged"
            expected += 1
            yield image.sha256
        token = page.next_page_token
        more = bool(token)


def kill_an_actor() -> None:
    listing = subprocess.run(["pgrep", "-f", "ray::_Maker"], capture_output=True, text=True, check=True).stdout
    os.kill(int(listing.split()[0]), signal.SIGKILL)


def made(folder: Path, count: int, settings: dict[str, str], kills: list[int]) -> tuple[list[str], list[float]]:
    """Returns the digests of a batch's images, and the server's memory along the way.

    Args:
        folder: Of the server.
        count: Images.
        settings: Of the server.
        kills: After so many images something is killed.
    """
    server = Server("generator", folder, {"CANICOR_SHIPPED_MODEL": "true", **settings}, {}).start()
    request = pb.CreateBatchRequest(
        request_id="one",
        portions=[pb.Portion(count=count)],
        seed=7,
        options=pb.GenerationOptions(width=SIDE, height=SIDE),
    )
    sizes: list[float] = []
    try:
        state = pb.BATCH_STATE_UNSPECIFIED
        while state != pb.BATCH_STATE_SUCCEEDED:
            with server.channel() as channel:
                stub = GeneratorServiceStub(channel)
                batch = stub.CreateBatch(request).batch
                for update in stub.WatchBatch(pb.WatchBatchRequest(batch_id=batch.id)):
                    state, done = update.batch.state, update.batch.completed_count
                    assert state != pb.BATCH_STATE_FAILED, update.batch.error
                    if done >= count * len(sizes) / SAMPLES:
                        sizes.append(memory(server))
                    if kills and done >= kills[0]:
                        print(f"killed after {kills.pop(0)} of {count} images", flush=True)
                        if "CANICOR_EXECUTOR" in settings:
                            kill_an_actor()
                        else:
                            server.kill()
                            break
            if state != pb.BATCH_STATE_SUCCEEDED:
                server.start()
        with server.channel() as channel:
            return list(digests(GeneratorServiceStub(channel), batch.id)), sizes
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills a server, or an actor of Ray, while a batch is made.")
    parser.add_argument("--count", type=int, default=20_000, help="images; default: %(default)s")
    parser.add_argument("--ray", action="store_true", help="kill actors of Ray too")
    asked = parser.parse_args()
    whole = True
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, sizes = made(Path(folder) / "undisturbed", asked.count, {}, [])
        for executor, settings in {"local": {}, **({"ray": RAY} if asked.ray else {})}.items():
            kills = sorted(random.sample(range(1, asked.count), KILLS))
            found, _ = made(Path(folder) / executor, asked.count, settings, kills)
            same, distinct = found == undisturbed, len(set(found))
            print(f"{executor}: {len(found)} images, {distinct} distinct; the same bytes: {same}", flush=True)
            whole = whole and same and len(found) == distinct == asked.count
    middle, end = sizes[len(sizes) // 2], sizes[-1]
    print(f"the server's memory: {sizes[1]:.0f} MiB at first, {middle:.0f} in the middle, {end:.0f} at the end")
    sys.exit(not whole or end > MAY_GROW * middle)


if __name__ == "__main__":
    main()
