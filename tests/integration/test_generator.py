"""The generator over real sockets: batches that survive anything, and an answer to every bad request."""

import hashlib
import io
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from itertools import islice
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from canicor.client import translated
from canicor.errors import (
    AlreadyExists,
    CanicorError,
    DataLoss,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.measurement.v1.measurement_pb2 import HEART_SIZE_LARGE, HEART_SIZE_SMALL, VhsRange
from canicor.messages import key_points_from
from canicor.phantom import draw
from canicor.store import read
from canicor.vhs import HeartSize

SIDE = 96
SMALL = pb.GenerationOptions(width=SIDE, height=SIDE)
SECONDS = 60
LONG = 5000


@pytest.fixture
def generator(serve, database_url):
    return serve("generator", CANICOR_WORKERS="2", CANICOR_DATABASE_URL=database_url)


@pytest.fixture
def stub(generator) -> Iterator[GeneratorServiceStub]:
    with generator.channel() as channel:
        yield GeneratorServiceStub(channel)


def batch_request(count: int = 6, **changes: object) -> pb.CreateBatchRequest:
    fields = {"request_id": "one", "portions": [pb.Portion(count=count)], "seed": 7, "options": SMALL}
    return pb.CreateBatchRequest(**{**fields, **changes})


def created(stub, request: pb.CreateBatchRequest) -> pb.Batch:
    with translated():
        return stub.CreateBatch(request, timeout=SECONDS).batch


def watched(stub, batch: pb.Batch) -> Iterator[pb.Batch]:
    with translated():
        for answer in stub.WatchBatch(pb.WatchBatchRequest(batch_id=batch.id), timeout=SECONDS):
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


# Batches


def test_a_batch_is_made_as_it_was_asked_for(stub):
    portions = [
        pb.Portion(count=2, heart_size=HEART_SIZE_SMALL),
        pb.Portion(count=1, vhs_range=VhsRange(lower=9.0, upper=9.5)),
        pb.Portion(count=1, vhs_range=VhsRange(lower=11.0, upper=11.0)),
        pb.Portion(count=1),
    ]
    batch = created(stub, batch_request(portions=portions, display_name="Rückhalt", priority=3))
    assert (batch.image_count, batch.request_id, batch.display_name, batch.seed) == (5, "one", "Rückhalt", 7)
    assert batch.options == pb.GenerationOptions(backend="phantom", width=SIDE, height=SIDE)
    end = watched_to_the_end(stub, batch)
    assert (end.state, end.completed_count, end.error) == (pb.BATCH_STATE_SUCCEEDED, 5, "")
    assert end.images_per_second > 0
    assert end.create_time.ToDatetime() <= end.start_time.ToDatetime() <= end.end_time.ToDatetime()
    assert not end.HasField("remaining")

    wishes = [
        {"heart_size": HeartSize.SMALL},
        {"heart_size": HeartSize.SMALL},
        {"vhs_range": (9.0, 9.5)},
        {"vhs": 11.0},
        {},
    ]
    for image, portion, wish in zip(images(stub, batch), [portions[0], *portions], wishes, strict=True):
        answer = stub.GetImage(pb.GetImageRequest(batch_id=batch.id, index=image.index))
        phantom = draw(7, image.index, width=SIDE, height=SIDE, **wish)
        assert answer.image == image
        assert np.array_equal(pixels(answer.content), phantom.pixels)
        assert key_points_from(image.key_points) == phantom.key_points
        assert image.WhichOneof("target") == portion.WhichOneof("target")
        assert (image.heart_size, image.vhs_range) == (portion.heart_size, portion.vhs_range)
        assert (image.width, image.height, image.backend, image.batch_id) == (SIDE, SIDE, "phantom", batch.id)
        beside = json.loads(read(image.url.removesuffix("png") + "json"))
        assert (beside["seed"], beside["index"], beside["sha256"]) == (7, image.index, image.sha256)
        assert beside["key_points"] == phantom.key_points.xy.tolist()
        assert beside["parameters"] == phantom.parameters


def test_the_largest_seed_and_the_default_size_are_kept(stub):
    batch = created(stub, batch_request(1, seed=2**64 - 1, options=None))
    watched_to_the_end(stub, batch)
    answer = stub.GetImage(pb.GetImageRequest(batch_id=batch.id))
    assert np.array_equal(pixels(answer.content), draw(2**64 - 1, 0).pixels)
    assert (answer.image.width, answer.image.height) == (512, 400)


def test_batches_are_listed_newest_first_in_pages(stub):
    made = [created(stub, batch_request(1, request_id=name)).id for name in ("one", "two", "three")]
    first = stub.ListBatches(pb.ListBatchesRequest(page_size=2))
    second = stub.ListBatches(pb.ListBatchesRequest(page_size=2, page_token=first.next_page_token))
    assert [batch.id for batch in [*first.batches, *second.batches]] == made[::-1]
    assert second.next_page_token == ""


def test_images_are_listed_in_pages(stub):
    batch = created(stub, batch_request(5))
    watched_to_the_end(stub, batch)
    found, token = [], ""
    for size in (2, 2, 1):
        page = stub.ListImages(pb.ListImagesRequest(batch_id=batch.id, page_size=2, page_token=token))
        assert len(page.images) == size
        found += [image.index for image in page.images]
        token = page.next_page_token
    assert found == [0, 1, 2, 3, 4]
    assert token == ""


def test_the_same_request_again_makes_no_second_batch_even_after_a_restart(generator, stub):
    batch = created(stub, batch_request(3))
    assert created(stub, batch_request(3)).id == batch.id
    watched_to_the_end(stub, batch)
    assert generator.terminate() == 0
    generator.start()
    with generator.channel() as channel:
        again = GeneratorServiceStub(channel)
        assert created(again, batch_request(3)) == watched_to_the_end(again, batch)
        error = error_of(lambda: created(again, batch_request(4)))
        assert (type(error), error.reason, error.field) == (AlreadyExists, "REQUEST_ID_TAKEN", "request_id")
        assert len(again.ListBatches(pb.ListBatchesRequest()).batches) == 1


def test_a_higher_priority_is_worked_on_first(stub):
    low = created(stub, batch_request(LONG))
    high = created(stub, batch_request(6, request_id="two", priority=1))
    assert watched_to_the_end(stub, high).state == pb.BATCH_STATE_SUCCEEDED
    standing = stub.GetBatch(pb.GetBatchRequest(batch_id=low.id)).batch
    assert standing.state in (pb.BATCH_STATE_QUEUED, pb.BATCH_STATE_RUNNING)


def test_two_watch_a_batch_and_both_see_it_grow_to_its_end(stub):
    batch = created(stub, batch_request(40))
    streams = [watched(stub, batch) for _ in range(2)]
    firsts = [next(stream) for stream in streams]
    for first, stream in zip(firsts, streams, strict=True):
        states = [first, *stream]
        counts = [state.completed_count for state in states]
        assert counts == sorted(counts)
        assert len(states) > 2
        assert (states[-1].state, counts[-1]) == (pb.BATCH_STATE_SUCCEEDED, 40)
        assert any(state.HasField("remaining") and state.images_per_second > 0 for state in states)


def test_a_client_may_have_only_so_many_images_outstanding(serve, tmp_path):
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(
        "".join(
            f'[[tokens]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'
            'roles = ["generate"]\n'
            for name in ("anna", "ben")
        )
    )
    server = serve("generator", CANICOR_WORKERS="1", CANICOR_CLIENT_IMAGES="5000", CANICOR_TOKENS_FILE=str(tokens))
    with server.channel(token="anna") as hers, server.channel(token="ben") as his:
        anna, ben = GeneratorServiceStub(hers), GeneratorServiceStub(his)
        first = created(anna, batch_request(4990))
        assert first.client == "anna"
        error = error_of(lambda: created(anna, batch_request(4900, request_id="two")))
        assert (type(error), error.reason) == (ResourceExhausted, "QUOTA")
        assert "4900 more" in error.message
        assert "5000" in error.message
        # The same request again asks for nothing more, another client has images of his own.
        assert created(anna, batch_request(4990)).id == first.id
        assert created(ben, batch_request(4900, request_id="three")).client == "ben"
        anna.CancelBatch(pb.CancelBatchRequest(batch_id=first.id))
        assert created(anna, batch_request(4900, request_id="two")).client == "anna"


def test_a_cancelled_batch_keeps_its_images_and_makes_no_more(stub):
    batch = created(stub, batch_request(LONG))
    wait_for_images(stub, batch, 1)
    with translated():
        cancelled = stub.CancelBatch(pb.CancelBatchRequest(batch_id=batch.id)).batch
    assert cancelled.state == pb.BATCH_STATE_CANCELLED
    assert 0 < cancelled.completed_count < LONG
    # Work that was under way is over once a later batch is.
    watched_to_the_end(stub, created(stub, batch_request(24, request_id="two")))
    assert stub.GetBatch(pb.GetBatchRequest(batch_id=batch.id)).batch == cancelled
    assert stub.CancelBatch(pb.CancelBatchRequest(batch_id=batch.id)).batch == cancelled
    assert len(images(stub, batch)) == cancelled.completed_count


# What goes wrong


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


# Generate


def test_a_few_images_are_streamed_and_not_stored(generator, stub):
    portion = pb.Portion(count=3, heart_size=HEART_SIZE_LARGE)
    with translated():
        answers = list(stub.Generate(pb.GenerateRequest(portion=portion, seed=9, options=SMALL), timeout=SECONDS))
    answers.sort(key=lambda answer: answer.image.index)
    assert [answer.image.index for answer in answers] == [0, 1, 2]
    for index, answer in enumerate(answers):
        phantom = draw(9, index, heart_size=HeartSize.LARGE, width=SIDE, height=SIDE)
        assert np.array_equal(pixels(answer.content), phantom.pixels)
        assert key_points_from(answer.image.key_points) == phantom.key_points
        assert answer.image.sha256 == hashlib.sha256(answer.content).hexdigest()
        assert (answer.progress, answer.image.url, answer.image.batch_id) == (1.0, "", "")
    assert not (generator.home / "store").exists()


def test_what_was_made_is_counted(generator, stub):
    watched_to_the_end(stub, created(stub, batch_request(3)))
    list(stub.Generate(pb.GenerateRequest(portion=pb.Portion(count=2), options=SMALL)))
    with urlopen(f"http://{generator.metrics_address}/metrics") as page:
        metrics = page.read().decode()
    assert 'canicor_generator_images_total{backend="phantom"} 5.0' in metrics
    assert 'canicor_generator_image_seconds_count{backend="phantom"} 5.0' in metrics
    assert 'canicor_generator_batches{state="succeeded"} 1.0' in metrics
    assert 'canicor_generator_batches{state="running"} 0.0' in metrics


# Bad requests

NAN = float("nan")


def options(**fields: object) -> dict[str, pb.GenerationOptions]:
    return {"options": pb.GenerationOptions(**fields)}


def portions(*found: pb.Portion) -> dict[str, list[pb.Portion]]:
    return {"portions": list(found)}


def vhs(lower: float, upper: float) -> dict[str, list[pb.Portion]]:
    return portions(pb.Portion(count=1), pb.Portion(count=1, vhs_range=VhsRange(lower=lower, upper=upper)))


BAD_BATCHES = [
    ({"request_id": ""}, "REQUEST_ID", "request_id"),
    ({"request_id": "x" * 129}, "REQUEST_ID", "request_id"),
    ({"request_id": "a\0b"}, "REQUEST_ID", "request_id"),
    ({"display_name": "x" * 201}, "DISPLAY_NAME", "display_name"),
    ({"display_name": "a\nb"}, "DISPLAY_NAME", "display_name"),
    ({"priority": 101}, "PRIORITY_OUT_OF_RANGE", "priority"),
    ({"priority": -(2**31)}, "PRIORITY_OUT_OF_RANGE", "priority"),
    (portions(), "NO_IMAGES", "portions"),
    (portions(pb.Portion(count=0)), "NO_IMAGES", "portions[0].count"),
    (portions(pb.Portion(count=1), pb.Portion(count=-1)), "NO_IMAGES", "portions[1].count"),
    (portions(pb.Portion(count=10**6), pb.Portion(count=1)), "TOO_MANY_IMAGES", "portions"),
    (portions(pb.Portion(count=10**12)), "TOO_MANY_IMAGES", "portions"),
    (portions(*[pb.Portion(count=1)] * 1001), "TOO_MANY_PORTIONS", "portions"),
    (portions(pb.Portion(count=1, heart_size=0)), "UNKNOWN_CLASS", "portions[0].heart_size"),
    (portions(pb.Portion(count=1, heart_size=4)), "UNKNOWN_CLASS", "portions[0].heart_size"),
    (vhs(3.9, 9), "VHS_OUT_OF_RANGE", "portions[1].vhs_range.lower"),
    (vhs(9, 20.1), "VHS_OUT_OF_RANGE", "portions[1].vhs_range.upper"),
    (vhs(NAN, 9), "VHS_OUT_OF_RANGE", "portions[1].vhs_range.lower"),
    (vhs(9, NAN), "VHS_OUT_OF_RANGE", "portions[1].vhs_range.upper"),
    (vhs(9, float("inf")), "VHS_OUT_OF_RANGE", "portions[1].vhs_range.upper"),
    (vhs(10, 9), "EMPTY_VHS_RANGE", "portions[1].vhs_range"),
    (options(backend="crayons"), "UNKNOWN_BACKEND", "options.backend"),
    (options(width=63), "SIZE_OUT_OF_RANGE", "options.width"),
    (options(width=-1), "SIZE_OUT_OF_RANGE", "options.width"),
    (options(height=2049), "SIZE_OUT_OF_RANGE", "options.height"),
    (options(model="sd"), "OPTION_NOT_SUPPORTED", "options.model"),
    (options(prompt="a dog"), "OPTION_NOT_SUPPORTED", "options.prompt"),
    (options(negative_prompt="a cat"), "OPTION_NOT_SUPPORTED", "options.negative_prompt"),
    (options(sampler=pb.SamplerOptions(steps=5)), "OPTION_NOT_SUPPORTED", "options.sampler"),
]


def test_every_bad_batch_is_refused_with_a_reason_and_its_field(stub):
    for changes, reason, field in BAD_BATCHES:
        error = error_of(lambda changes=changes: created(stub, batch_request(**changes)))
        assert (type(error), error.reason, error.field) == (InvalidArgument, reason, field), changes
        assert error.message
        assert reason != "UNKNOWN_BACKEND" or "take diffusers or phantom" in error.message
    assert not stub.ListBatches(pb.ListBatchesRequest()).batches


def test_a_bad_few_are_refused(stub):
    for changes, reason, field in (
        ({}, "NO_IMAGES", "portion.count"),
        ({"portion": pb.Portion(count=17)}, "TOO_MANY_IMAGES", "portion.count"),
        ({"portion": pb.Portion(count=1, heart_size=9)}, "UNKNOWN_CLASS", "portion.heart_size"),
        ({"portion": pb.Portion(count=1), **options(width=5)}, "SIZE_OUT_OF_RANGE", "options.width"),
    ):
        error = error_of(lambda changes=changes: list(stub.Generate(pb.GenerateRequest(**changes))))
        assert (type(error), error.reason, error.field) == (InvalidArgument, reason, field), changes


def test_what_there_is_not_is_not_found(stub):
    for batch_id in ("", "0" * 32, "../../etc", "a\0"):
        for call, request in (
            (stub.GetBatch, pb.GetBatchRequest),
            (stub.CancelBatch, pb.CancelBatchRequest),
            (stub.ListImages, pb.ListImagesRequest),
            (stub.GetImage, pb.GetImageRequest),
            (lambda one: list(stub.WatchBatch(one)), pb.WatchBatchRequest),
        ):
            error = error_of(lambda call=call, request=request, name=batch_id: call(request(batch_id=name)))
            assert (type(error), error.reason) == (NotFound, "NO_SUCH_BATCH")
    batch = created(stub, batch_request(LONG))
    for index, reason in (
        (-1, "NO_SUCH_IMAGE"),
        (LONG, "NO_SUCH_IMAGE"),
        (2**63 - 1, "NO_SUCH_IMAGE"),
        (LONG - 1, "IMAGE_NOT_MADE"),
    ):
        request = pb.GetImageRequest(batch_id=batch.id, index=index)
        error = error_of(lambda request=request: stub.GetImage(request))
        assert (type(error), error.reason) == (NotFound, reason)


def test_a_bad_page_is_refused(stub):
    batch = created(stub, batch_request(1))
    for changes, reason, field in (
        ({"page_size": -1}, "PAGE_SIZE", "page_size"),
        ({"page_size": 1001}, "PAGE_SIZE", "page_size"),
        ({"page_token": "nonsense"}, "PAGE_TOKEN", "page_token"),
        ({"page_token": "-1"}, "PAGE_TOKEN", "page_token"),
        ({"page_token": "f" * 40}, "PAGE_TOKEN", "page_token"),
    ):
        for call, request in (
            (stub.ListBatches, pb.ListBatchesRequest(**changes)),
            (stub.ListImages, pb.ListImagesRequest(batch_id=batch.id, **changes)),
        ):
            error = error_of(lambda call=call, request=request: call(request))
            assert (type(error), error.reason, error.field) == (InvalidArgument, reason, field), changes


# Tokens


def test_each_role_may_do_its_own(serve, tmp_path):
    roles = {"maker": ["generate"], "reader": ["label"], "stranger": ["classify"]}
    entry = '[[tokens]]\nname = "{}"\nsha256 = "{}"\nroles = {}\n'
    (tmp_path / "tokens.toml").write_text(
        "".join(entry.format(name, hashlib.sha256(name.encode()).hexdigest(), roles[name]) for name in roles)
    )
    server = serve("generator", CANICOR_WORKERS="1", CANICOR_TOKENS_FILE=str(tmp_path / "tokens.toml"))
    few = pb.GenerateRequest(portion=pb.Portion(count=1), options=SMALL)
    with server.channel(token="maker") as channel:
        batch = created(GeneratorServiceStub(channel), batch_request(1))
    with server.channel(token="reader") as channel:
        stub = GeneratorServiceStub(channel)
        assert watched_to_the_end(stub, batch).state == pb.BATCH_STATE_SUCCEEDED
        assert len(images(stub, batch)) == 1
        for call in (
            lambda: created(stub, batch_request(1, request_id="two")),
            lambda: stub.CancelBatch(pb.CancelBatchRequest(batch_id=batch.id)),
            lambda: list(islice(stub.Generate(few), 1)),
        ):
            error = error_of(call)
            assert (type(error), error.reason) == (PermissionDenied, "ROLE_MISSING")
    with server.channel(token="stranger") as channel:
        stub = GeneratorServiceStub(channel)
        assert isinstance(error_of(lambda: stub.ListBatches(pb.ListBatchesRequest())), PermissionDenied)
    with server.channel() as channel:
        stub = GeneratorServiceStub(channel)
        assert isinstance(error_of(lambda: stub.ListBatches(pb.ListBatchesRequest())), Unauthenticated)
