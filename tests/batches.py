"""Batches of images as tests ask a generator for them."""

import hashlib
import io
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from canicor.client import translated
from canicor.errors import CanicorError
from canicor.generator.v1 import generator_pb2 as pb
from canicor.store import read

SIDE = 96
SMALL = pb.GenerationOptions(width=SIDE, height=SIDE)
SECONDS = 60
LONG = 5000


def batch_request(count: int = 6, **changes: object) -> pb.CreateBatchRequest:
    fields = {"request_id": "one", "portions": [pb.Portion(count=count)], "seed": 7, "options": SMALL}
    return pb.CreateBatchRequest(**{**fields, **changes})


def created(stub, request: pb.CreateBatchRequest) -> pb.Batch:
    with translated():
        return stub.CreateBatch(request, timeout=SECONDS).batch


def watched(stub, batch: pb.Batch) -> Iterator[pb.Batch]:
    with translated():
        request = pb.WatchBatchRequest(batch_id=batch.id)
        for answer in stub.WatchBatch(request, timeout=SECONDS, wait_for_ready=True):
            yield answer.batch


def watched_to_the_end(stub, batch: pb.Batch) -> pb.Batch:
    return list(watched(stub, batch))[-1]


def wait_for_images(stub, batch: pb.Batch, count: int) -> pb.Batch:
    return next(state for state in watched(stub, batch) if state.completed_count >= count)


def images(stub, batch: pb.Batch) -> list[pb.Image]:
    found, token = [], ""
    while True:
        page = stub.ListImages(pb.ListImagesRequest(batch_id=batch.id, page_size=1000, page_token=token))
        found += page.images
        token = page.next_page_token
        if not token:
            return found


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def child_processes(parent: int) -> list[int]:
    command = ["ps", "-e", "-ww", "-o", "pid=", "-o", "ppid=", "-o", "args="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    return [int(pid) for pid, ppid, args in rows if int(ppid) == parent and "spawn_main" in args]


def alive(process: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def error_of(call: Callable[[], object]) -> CanicorError:
    with pytest.raises(CanicorError) as raised, translated():
        call()
    return raised.value


def assert_whole(stub, batch: pb.Batch, count: int) -> list[pb.Image]:
    """Every image once, each file as its digest says."""
    found = images(stub, batch)
    assert [image.index for image in found] == list(range(count))
    assert len({image.sha256 for image in found}) == count
    assert all(hashlib.sha256(read(image.url)).hexdigest() == image.sha256 for image in found)
    return found
