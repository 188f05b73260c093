"""A pipeline is asked in words that give a heart's class and size, and is read as it was written."""

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from canicor.errors import DataLoss, InvalidArgument, NotFound
from canicor.pipeline import PAPER_PROMPT, PipelineInfo, mixing, prompts
from canicor.pipeline_command import app
from canicor.pipeline_repository import Pipelines
from canicor.store import file_url
from canicor.vhs import HeartSize

TOKENS = {HeartSize.SMALL: "Small", HeartSize.NORMAL: "Normal", HeartSize.LARGE: "Large"}


def info(**changes: object) -> PipelineInfo:
    fields = {
        "prompt": "heart of {vhs}",
        "lowest_vhs": 6.0,
        "highest_vhs": 13.0,
        "width": 64,
        "height": 64,
        "steps": 2,
        "guidance_scale": 1.0,
        "create_time": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return PipelineInfo.model_validate(fields | changes)


@pytest.fixture
def pipelines(tmp_path: Path) -> Pipelines:
    return Pipelines((tmp_path / "store").as_uri(), tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "unet" / "weights").write_bytes(os.urandom(1000))
    return folder


@pytest.mark.parametrize(("vhs", "token"), [(8.19, "Small"), (8.2, "Normal"), (10.0, "Normal"), (10.01, "Large")])
def test_a_class_is_asked_for_by_its_token(vhs, token):
    expected = f"photo of {token} Cardiovascular Thoracic radiograph x-ray"
    assert info(prompt=PAPER_PROMPT, tokens=TOKENS).prompts(vhs) == ((expected, 1.0),)


def test_without_tokens_the_prompt_is_that_of_every_class():
    expected = "photo of Cardiovascular Thoracic radiograph x-ray"
    assert info(prompt=PAPER_PROMPT).prompts(9.0) == ((expected, 1.0),)


def test_a_size_between_two_numbers_is_a_mix_of_both():
    (below, less), (above, more) = prompts("{token} heart of {vhs}", "Normal", 8.6)
    assert (below, above) == ("Normal heart of 8.5", "Normal heart of 9.0")
    assert (less, more) == (pytest.approx(0.8), pytest.approx(0.2))
    assert prompts("heart of {vhs}", vhs=12.0) == (("heart of 12.0", 1.0),)


def test_a_prompt_with_the_size_needs_one():
    with pytest.raises(InvalidArgument, match="needs the VHS of every heart"):
        prompts("heart of {vhs}", "Large")


def test_every_text_is_encoded_once():
    texts, weights = mixing([(("a", 0.25), ("b", 0.75)), (("b", 1.0),)])
    assert texts == ["a", "b"]
    np.testing.assert_allclose(weights, [[0.25, 0.75], [0.0, 1.0]])


@pytest.mark.parametrize("vhs", [5.99, 13.01])
def test_what_was_not_taught_is_not_asked_for(vhs):
    with pytest.raises(InvalidArgument, match="taught hearts of 6 to 13"):
        info().prompts(vhs)
    assert info(prompt="a heart").prompts(vhs) == (("a heart", 1.0),)


@pytest.mark.parametrize("changes", [{"tokens": {"Small": "s"}}, {"steps": 0}, {"guidance_scale": float("nan")}])
def test_a_pipeline_that_can_not_be_asked_is_refused(changes):
    with pytest.raises(ValidationError):
        info(**changes)


def test_a_pipeline_is_read_as_it_was_written(pipelines, folder):
    first = pipelines.push("one", folder, info())
    (folder / "unet" / "weights").write_bytes(b"others")
    second = pipelines.push("one", folder, info(steps=3))
    assert (first, second, pipelines.versions("one")) == ("1", "2", ["1", "2"])
    assert "one" in pipelines.names()
    version, read = pipelines.read("one")
    assert (version, read.steps) == ("2", 3)
    assert read.digest != pipelines.read("one", "1")[1].digest
    fetched = pipelines.fetch("one", "2")
    assert {one.relative_to(fetched).as_posix() for one in fetched.rglob("*") if one.is_file()} == {
        "model_index.json",
        "unet/weights",
    }
    assert (fetched / "unet" / "weights").read_bytes() == b"others"


def test_a_damaged_pipeline_is_never_loaded(pipelines, folder, tmp_path):
    pipelines.push("one", folder, info())
    (tmp_path / "store" / "pipelines" / "one" / "1" / "unet" / "weights").write_bytes(b"others")
    for _ in range(2):
        with pytest.raises(DataLoss, match="does not match its checksum"):
            pipelines.fetch("one", "1")


def test_half_a_pipeline_is_none(pipelines, folder, tmp_path):
    pipelines.push("one", folder, info())
    (tmp_path / "store" / "pipelines" / "one" / "1" / "canicor.json").unlink()
    assert "one" not in pipelines.names()
    with pytest.raises(NotFound, match="no pipeline one/"):
        pipelines.read("one")
    assert pipelines.push("one", folder, info()) == "2"


def test_what_is_no_pipeline_is_not_taken_in(pipelines, folder, tmp_path):
    (folder / "model_index.json").unlink()
    with pytest.raises(InvalidArgument, match="it has no model_index"):
        pipelines.push("one", folder, info())
    (folder / "model_index.json").write_text("{}")
    with pytest.raises(InvalidArgument, match="is no model name"):
        pipelines.push("../one", folder, info())
    assert not (tmp_path / "store").exists()


def test_two_who_push_at_once_each_get_a_version(pipelines, folder, tmp_path):
    # The other one has claimed its number and not yet written more.
    claimed = tmp_path / "store" / "pipelines" / "one" / "1"
    claimed.mkdir(parents=True)
    (claimed / "model_index.json").write_text("{}")
    assert pipelines.push("one", folder, info()) == "2"


# `canicor pipelines`


def pipelines_command(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path))
    return tmp_path


def test_a_folder_is_taken_in_with_the_habits_of_its_family(home, pipelines, folder):
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    options = (
        "--steps",
        "4",
        "--guidance-scale",
        "0",
        "--scheduler",
        "EulerDiscrete",
        "--prompt",
        "{token} heart",
    )
    assert pipelines_command("add", "lightning", folder, *options) == "lightning/1\n"
    _, taken = pipelines.read("lightning")
    assert (taken.width, taken.height, taken.steps, taken.guidance_scale) == (1024, 1024, 4, 0)
    assert taken.scheduler == "EulerDiscrete"
    assert taken.prompts(7.0) == (("Small heart", 1.0),)
    assert "lightning/1" in pipelines_command("list")


def test_a_folder_of_an_unknown_family_is_refused(home, folder):
    for index in ("{}", "no JSON", '{"_class_name": "AudioPipeline"}'):
        (folder / "model_index.json").write_text(index)
        with pytest.raises(InvalidArgument, match="names none of StableDiffusionPipeline"):
            pipelines_command("add", "one", folder)
    assert not (home / "store").exists()


def test_the_pipeline_that_ships_says_that_phantoms_taught_it(tmp_path):
    pipelines = Pipelines(file_url(tmp_path / "store"), tmp_path / "cache")
    version, shipped = pipelines.read("phantom-base")
    assert (version, shipped.training_origins) == ("0", ("phantom",))
    folder = pipelines.fetch("phantom-base", "0")
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 30 * 2**20
    assert "phantom, not canine" in (folder / "card.md").read_text()
