"""`canicor train generator`, from a manifest to a pipeline that the generator serves, without a network."""

import json
import socket
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from canicor.errors import InvalidArgument
from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.measurement.v1.measurement_pb2 import HEART_SIZE_SMALL
from canicor.pipeline_repository import Pipelines
from tests import pipelines as tiny
from tests.batches import created, images, watched_to_the_end
from tests.integration.test_training import write_manifest
from tests.phantoms import phantom_rows
from tests.unit.test_pipeline import info
from training.commands import app

SETTINGS = (
    *("width=64", "height=64", "steps=2", "class_images=2", "validation_steps=1"),
    *("learning_rate=1e-4", "precision=no", "pipeline=base"),
)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pipelines(home) -> Pipelines:
    return Pipelines((home / "store").as_uri(), home / "pipelines")


@pytest.fixture
def manifest(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    return write_manifest(tmp_path, phantom_rows(tmp_path / "images", 24))


@pytest.fixture
def no_network(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def train(manifest: Path, *settings: str, **options: object) -> str:
    arguments = [f"--{name}={value}" for name, value in options.items()]
    assigned = [part for one in settings for part in ("--set", one)]
    result = CliRunner().invoke(app, ["generator", str(manifest), *arguments, *assigned])
    if result.exception:
        raise result.exception
    return result.stdout.strip()


def test_what_is_fine_tuned_is_served(home, pipelines, manifest, tmp_path, serve, no_network):
    tiny.stable_diffusion().save_pretrained(tmp_path / "base")
    pipelines.push("base", tmp_path / "base", info(training_origins=("phantom",)))
    assert train(manifest, *SETTINGS, name="clinic") == "clinic/1"
    _, about = pipelines.read("clinic")
    assert about.tokens["Small"] == "Small"
    assert (about.width, about.steps, about.training_origins) == (64, 2, ("phantom",))
    assert about.training_plan["steps"] == 2
    card = (pipelines.fetch("clinic", "1") / "card.md").read_text()
    assert "phantom, not canine" in card
    assert "Not cleared for diagnosis" in card
    shown = {one.parent.name + "/" + one.name for one in (home / "training").rglob("clinic-*/*/*.png")}
    assert shown == {f"00000{step}/{size}.png" for step in (1, 2) for size in ("Small", "Normal", "Large")}
    assert not list((home / "training").glob("*.pt"))
    with serve("generator", CANICOR_WORKERS="1").channel() as channel:
        stub = GeneratorServiceStub(channel)
        request = pb.CreateBatchRequest(
            request_id="one",
            portions=[pb.Portion(count=1, heart_size=HEART_SIZE_SMALL)],
            options=pb.GenerationOptions(backend="diffusers", model="clinic"),
        )
        batch = created(stub, request)
        assert watched_to_the_end(stub, batch).error == ""
        (image,) = images(stub, batch)
    assert image.prompt == "photo of Small Cardiovascular Thoracic radiograph x-ray"


def test_bad_requests_stop_at_once_and_leave_nothing(home, pipelines, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps(["a heart"]))
    tiny.kandinsky().save_pretrained(tmp_path / "kandinsky")
    for settings, options, message in (
        (("pipeline=nobody/nothing",), {}, "There are no weights 'nobody/nothing'"),
        ((f"pipeline={tmp_path / 'kandinsky'}",), {}, "only StableDiffusionPipeline and"),
        ((), {"captions": captions}, "no JSON object of prompts"),
        ((), {"name": "../clinic"}, "is no model name"),
        (("steps",), {}, "NAME=VALUE"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            train(manifest, *SETTINGS, *settings, **options)
    with pytest.raises(ValidationError, match="steps"):
        train(manifest, *SETTINGS, "steps=0")
    assert pipelines.names() == ["phantom-base"], "the one that ships"
