"""Servers, workers and stores that fail in the middle of a batch."""

import os
import signal
import subprocess

import numpy as np
import pytest

from canicor.errors import (
    DataLoss,
    Unavailable,
)
from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.phantom import draw
from canicor.store import read
from tests.batches import (
    LONG,
    SECONDS,
    SIDE,
    SMALL,
    alive,
    assert_whole,
    batch_request,
    child_processes,
    created,
    error_of,
    pixels,
    wait_for_images,
    watched,
    watched_to_the_end,
)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_server_killed_in_the_middle_loses_and_doubles_nothing(generator, stub):
    count = 40
    batch = created(stub, batch_request(count))
    half = wait_for_images(stub, batch, 8)
    workers = child_processes(generator.process.pid)
    assert half.state == pb.BATCH_STATE_RUNNING
    generator.kill()
    generator.start()
    with generator.channel() as channel:
        again = GeneratorServiceStub(channel)
        assert watched_to_the_end(again, batch).state == pb.BATCH_STATE_SUCCEEDED
        found = assert_whole(again, batch, count)
        undisturbed = created(again, batch_request(count, request_id="two"))
        watched_to_the_end(again, undisturbed)
        twins = assert_whole(again, undisturbed, count)
        assert [image.sha256 for image in found] == [image.sha256 for image in twins]
    assert workers
    assert not any(alive(worker) for worker in workers)


def test_a_drained_server_goes_on_where_it_stopped(generator, stub):
    batch = created(stub, batch_request(40))
    wait_for_images(stub, batch, 1)
    assert generator.terminate() == 0
    generator.start()
    with generator.channel() as channel:
        again = GeneratorServiceStub(channel)
        assert watched_to_the_end(again, batch).state == pb.BATCH_STATE_SUCCEEDED
        assert_whole(again, batch, 40)


def test_one_who_watches_does_not_keep_a_draining_server(generator, stub):
    stream = watched(stub, created(stub, batch_request(LONG)))
    next(stream)
    assert generator.terminate() == 0
    with pytest.raises(Unavailable):
        list(stream)


def test_a_killed_worker_is_replaced_and_its_work_repeated(generator, stub):
    batch = created(stub, batch_request(40))
    wait_for_images(stub, batch, 1)
    worker = child_processes(generator.process.pid)[0]
    os.kill(worker, signal.SIGKILL)
    assert watched_to_the_end(stub, batch).state == pb.BATCH_STATE_SUCCEEDED
    assert_whole(stub, batch, 40)


def test_a_batch_on_ray_loses_nothing_to_a_killed_worker(serve, monkeypatch):
    pytest.importorskip("ray")
    # Else Ray leaves a token in the home folder of whoever runs the tests.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    server = serve("generator", CANICOR_EXECUTOR="ray", CANICOR_WORKERS="2")
    with server.channel() as channel:
        stub = GeneratorServiceStub(channel)
        batch = created(stub, batch_request(40))
        wait_for_images(stub, batch, 1)
        listing = subprocess.run(["pgrep", "-f", "ray::_Maker"], capture_output=True, text=True, check=True).stdout
        os.kill(int(listing.split()[0]), signal.SIGKILL)
        assert watched_to_the_end(stub, batch).state == pb.BATCH_STATE_SUCCEEDED
        made = assert_whole(stub, batch, 40)
        for index in (0, 39):
            assert np.array_equal(pixels(read(made[index].url)), draw(7, index, width=SIDE, height=SIDE).pixels)
        few = pb.GenerateRequest(portion=pb.Portion(count=1), seed=7, options=SMALL)
        (answer,) = stub.Generate(few, timeout=SECONDS)
        assert answer.image.sha256 == made[0].sha256
    assert server.terminate() == 0


def test_a_store_that_can_not_be_written_fails_the_batch_with_a_sentence(serve, tmp_path):
    (tmp_path / "file").touch()
    server = serve("generator", CANICOR_WORKERS="1", CANICOR_STORE_URL=(tmp_path / "file" / "store").as_uri())
    with server.channel() as channel:
        stub = GeneratorServiceStub(channel)
        end = watched_to_the_end(stub, created(stub, batch_request(2)))
    assert (end.state, end.completed_count) == (pb.BATCH_STATE_FAILED, 0)
    assert end.error == "The object store does not answer or can't be written."
    assert end.HasField("end_time")


@pytest.mark.parametrize(("damage", "reason"), [("changed", "CHECKSUM"), ("lost", "OBJECT_GONE")])
def test_a_damaged_file_is_never_handed_out(generator, stub, damage, reason):
    batch = created(stub, batch_request(1))
    watched_to_the_end(stub, batch)
    (file,) = (generator.home / "store" / "generated" / batch.id).rglob("*.png")
    if damage == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    else:
        file.unlink()
    error = error_of(lambda: stub.GetImage(pb.GetImageRequest(batch_id=batch.id)))
    assert (type(error), error.reason) == (DataLoss, reason)
