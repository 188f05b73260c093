"""Requests that the generator refuses, each with a reason, and who may make them."""

import hashlib
from itertools import islice

from canicor.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.measurement.v1.measurement_pb2 import VhsRange
from tests.batches import (
    LONG,
    SMALL,
    batch_request,
    created,
    error_of,
    images,
    watched_to_the_end,
)

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
