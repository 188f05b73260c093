"""The generator over real sockets: what was asked for is made, kept, listed, watched and counted."""

import hashlib
import json
from contextlib import suppress
from urllib.request import urlopen

import numpy as np
import pytest

from canicor.client import channel, translated
from canicor.errors import AlreadyExists, ResourceExhausted, Unavailable
from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.measurement.v1.measurement_pb2 import HEART_SIZE_LARGE, HEART_SIZE_SMALL, VhsRange
from canicor.messages import key_points_from
from canicor.phantom import draw
from canicor.store import read
from canicor.vhs import HeartSize
from tests.batches import (
    LONG,
    SECONDS,
    SIDE,
    SMALL,
    batch_request,
    created,
    error_of,
    images,
    pixels,
    wait_for_images,
    watched,
    watched_to_the_end,
)
from tests.relays import relay


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


def test_one_whose_connection_drops_watches_on_and_nothing_is_made_twice(generator, stub):
    batch = created(stub, batch_request(40))
    with relay(generator.address) as network, channel(network.address, generator.client_settings()) as far:
        far_stub = GeneratorServiceStub(far)
        watching = watched(far_stub, batch)
        counts = [next(watching).completed_count]
        network.drop()
        with pytest.raises(Unavailable):
            counts += [state.completed_count for state in watching]
        while counts[-1] < 40:
            # gRPC may still take the dropped connection for a good one.
            with suppress(Unavailable):
                for state in watched(far_stub, batch):
                    counts.append(state.completed_count)
    assert counts == sorted(counts)
    with urlopen(f"http://{generator.metrics_address}/metrics") as page:
        assert 'canicor_generator_images_total{backend="phantom"} 40.0' in page.read().decode()


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
