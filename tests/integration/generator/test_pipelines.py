"""The generator by text-to-image pipelines: Stable Diffusion, SDXL and Kandinsky, tiny ones, over real sockets."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from canicor.errors import InvalidArgument
from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.measurement.v1.measurement_pb2 import HEART_SIZE_LARGE, VhsRange
from canicor.pipeline_repository import Pipelines
from canicor.store import read
from tests import pipelines as tiny
from tests.batches import created, error_of, images, pixels, watched_to_the_end
from tests.servers import Server
from tests.unit.test_pipeline import TOKENS, info


@pytest.fixture
def generator(serve) -> Server:
    return serve("generator", CANICOR_WORKERS="1", CANICOR_GENERATOR_BACKEND="diffusers")


@pytest.fixture
def push(tmp_path: Path) -> Callable[..., None]:
    pipelines = Pipelines((tmp_path / "home" / "store").as_uri(), tmp_path / "unused")

    def push(name: str, pipeline=tiny.stable_diffusion, *, without: str = "", **changes: object) -> None:
        folder = tmp_path / name
        pipeline().save_pretrained(folder)
        if without:
            shutil.rmtree(folder / without)
        pipelines.push(name, folder, info(**changes))

    return push


def request(
    model: str, *portions: pb.Portion, request_id: str = "one", **options: object
) -> pb.CreateBatchRequest:
    asked = pb.GenerationOptions(model=model, **options)
    return pb.CreateBatchRequest(request_id=request_id, portions=portions, seed=7, options=asked)


def test_the_pipeline_that_ships_shows_hearts_of_the_size_that_is_asked_for(serve):
    """What its images show is read by the model that ships."""
    settings = {"CANICOR_GENERATOR_BACKEND": "diffusers", "CANICOR_SHIPPED_MODEL": "true"}
    portions = [pb.Portion(count=8, vhs_range=VhsRange(lower=vhs, upper=vhs)) for vhs in (7, 12)]
    with serve("generator", CANICOR_WORKERS="2", **settings).channel() as channel:
        stub = GeneratorServiceStub(channel)
        batch = watched_to_the_end(stub, created(stub, request("phantom-base", *portions)))
        assert (batch.state, batch.options.model) == (pb.BATCH_STATE_SUCCEEDED, "phantom-base/0")
        read_as = [image.scores["vhs"] for image in images(stub, batch)]
    assert np.median(read_as[8:]) > np.median(read_as[:8]) + 2


def test_a_batch_is_made_by_a_pipeline_as_it_is_asked(stub, push):
    push("clinic", prompt="{token} heart of {vhs}", tokens=TOKENS)
    portions = [
        pb.Portion(count=2, heart_size=HEART_SIZE_LARGE),
        pb.Portion(count=1, vhs_range=VhsRange(lower=8.6, upper=8.6)),
    ]
    batch = created(stub, request("clinic", *portions))
    assert batch.options == pb.GenerationOptions(
        backend="diffusers",
        model="clinic/1",
        width=64,
        height=64,
        prompt="{token} heart of {vhs}",
        sampler=pb.SamplerOptions(scheduler="DPMSolverMultistep", steps=2, guidance_scale=1.0),
    )
    end = watched_to_the_end(stub, batch)
    assert (end.error, end.state) == ("", pb.BATCH_STATE_SUCCEEDED)
    made = images(stub, batch)
    assert len({image.sha256 for image in made}) == 3
    assert [image.prompt.split()[0] for image in made] == ["Large", "Large", "Normal"]
    assert made[2].prompt == "Normal heart of 8.5"
    assert len({image.model_digest for image in made}) == 1
    assert not made[0].HasField("key_points")
    content = stub.GetImage(pb.GetImageRequest(batch_id=batch.id)).content
    assert pixels(content).shape == (64, 64)
    # A newer version changes nothing of a batch that was asked of an older one; and what is made for one who waits
    # is what a batch of this seed holds.
    push("clinic", prompt="a dog")
    few = pb.GenerateRequest(portion=portions[0], seed=7, options=batch.options)
    answers = list(stub.Generate(few))
    again = [hashlib.sha256(one.content).hexdigest() for one in answers if one.progress == 1]
    assert again == [image.sha256 for image in made[:2]]
    # Between its two steps, each was seen once.
    assert [(one.image.index, one.progress) for one in answers] == [(0, 0.5), (0, 1.0), (1, 0.5), (1, 1.0)]
    assert pixels(answers[0].content).shape == (64, 64)
    assert answers[0].content != answers[1].content
    newest = created(stub, request("clinic", pb.Portion(count=1), request_id="two"))
    assert (newest.options.model, newest.options.prompt) == ("clinic/2", "a dog")


def test_other_families_generate_too(stub, push):
    for name, kind in (("sdxl", tiny.stable_diffusion_xl), ("kandinsky", tiny.kandinsky)):
        push(name, kind, scheduler="", guidance_scale=2.0)
        batch = created(stub, request(name, pb.Portion(count=2), request_id=name))
        end = watched_to_the_end(stub, batch)
        assert (end.error, end.state) == ("", pb.BATCH_STATE_SUCCEEDED)
        assert len({image.sha256 for image in images(stub, batch)}) == 2


def test_several_images_are_made_at_once_each_from_its_own_noise(serve, push):
    push("clinic")
    with serve("generator", CANICOR_WORKERS="1", CANICOR_DIFFUSERS_BATCH_SIZE="2").channel() as channel:
        stub = GeneratorServiceStub(channel)
        batch = created(stub, request("clinic", pb.Portion(count=3), backend="diffusers"))
        assert watched_to_the_end(stub, batch).completed_count == 3
        found = images(stub, batch)
        *_, alone = stub.Generate(
            pb.GenerateRequest(portion=pb.Portion(count=1), seed=7, options=batch.options), timeout=60
        )
    assert len({image.sha256 for image in found}) == 3
    together = pixels(read(found[0].url)).astype(int)
    # In company a processor adds up in another order.
    assert np.abs(together - pixels(alone.content)).max() <= 2


def test_a_pipeline_that_can_not_be_loaded_fails_the_batch_with_a_sentence(stub, push):
    push("broken", without="unet")
    end = watched_to_the_end(stub, created(stub, request("broken", pb.Portion(count=1))))
    assert (end.state, end.completed_count) == (pb.BATCH_STATE_FAILED, 0)
    assert end.error.startswith("diffusers can't load this pipeline: ")


def test_every_bad_request_is_refused_with_a_reason_and_its_field(stub, push):
    push("clinic")
    sampled = pb.SamplerOptions
    for model, options, reason, field in (
        ("", {}, "NO_MODEL", "options.model"),
        ("nobody", {}, "UNKNOWN_MODEL", "options.model"),
        ("clinic/2", {}, "UNKNOWN_MODEL", "options.model"),
        ("..", {}, "MODEL_NAME", "options.model"),
        ("clinic", {"width": 100}, "SIZE_NOT_A_MULTIPLE", "options.width"),
        ("clinic", {"prompt": "x" * 1001}, "PROMPT_TOO_LONG", "options.prompt"),
        ("clinic", {"negative_prompt": "x" * 1001}, "PROMPT_TOO_LONG", "options.negative_prompt"),
        ("clinic", {"sampler": sampled(scheduler="Guess")}, "UNKNOWN_SCHEDULER", "options.sampler.scheduler"),
        ("clinic", {"sampler": sampled(steps=0)}, "STEPS_OUT_OF_RANGE", "options.sampler.steps"),
        ("clinic", {"sampler": sampled(steps=1001)}, "STEPS_OUT_OF_RANGE", "options.sampler.steps"),
        (
            "clinic",
            {"sampler": sampled(guidance_scale=float("nan"))},
            "GUIDANCE_OUT_OF_RANGE",
            "options.sampler.guidance_scale",
        ),
    ):
        asked = request(model, pb.Portion(count=1), **options)
        error = error_of(lambda asked=asked: created(stub, asked))
        assert (type(error), error.reason, error.field) == (InvalidArgument, reason, field), (model, options)
    rare = pb.Portion(count=1, vhs_range=VhsRange(lower=5.0, upper=9.0))
    error = error_of(lambda: created(stub, request("clinic", rare)))
    assert (error.reason, error.field) == ("VHS_NOT_TAUGHT", "portions")
    assert "taught hearts of 6 to 13 vertebrae" in error.message
    assert not stub.ListBatches(pb.ListBatchesRequest()).batches
