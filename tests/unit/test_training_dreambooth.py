"""DreamBooth does what the study did, goes on where it was stopped, and refuses what it can't do."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from canicor.errors import InvalidArgument, ResourceExhausted
from canicor.pipeline import prompts
from canicor.text_to_image import Sampling, TextToImage
from tests import pipelines as tiny
from training.checkpoint import Checkpoint
from training.generator import dreambooth
from training.generator.class_images import ClassImages
from training.generator.dreambooth import Lesson, fine_tune
from training.generator.loading import weights_digest
from training.generator.recipe import DreamBooth
from training.processes import Precision

SIDE = 64


def lesson() -> Lesson:
    rng = np.random.default_rng(0)
    pixels, priors = (rng.integers(0, 256, (count, SIDE, SIDE), np.uint8) for count in (6, 4))
    asked = [prompts("{token} heart", token) for token in ("Small", "Normal", "Large") * 2]
    return Lesson(pixels, asked, priors, "heart")


def recipe(**changes: object) -> DreamBooth:
    quick = {"width": SIDE, "height": SIDE, "steps": 2, "learning_rate": 1e-3, "precision": "no"}
    return DreamBooth(**quick | changes)


def weights(pipeline) -> torch.Tensor:
    parts = (pipeline.unet, pipeline.text_encoder, pipeline.vae)
    return torch.cat([one.detach().flatten() for part in parts for one in part.parameters()])


class Killed(Exception):
    """Stands for what ends a process between two steps."""


def taught(
    pipeline, what: DreamBooth, checkpoint: Checkpoint | None = None, until: int = 0
) -> list[tuple[int, float]]:
    told = []

    def done(step: int, loss: float) -> None:
        told.append((step, loss))
        if step == until:
            raise Killed

    fine_tune(pipeline, lesson(), what, done, checkpoint)
    return told


# What the study did


def test_the_defaults_are_those_of_the_study():
    study = DreamBooth()
    assert study.prompt == "photo of {token} Cardiovascular Thoracic radiograph x-ray"
    assert study.class_prompt == "photo of Cardiovascular Thoracic radiograph x-ray"
    assert set(study.tokens.values()) == {"Large", "Normal", "Small"}
    assert (study.width, study.height, study.batch_size, study.accumulation) == (512, 512, 2, 1)
    assert (study.precision, study.eight_bit_adam, study.learning_rate) == (Precision.FP16, True, 5e-6)
    assert (study.schedule, study.warm_up_steps, study.steps) == ("cosine", 0, 5000)
    assert (study.class_images, study.sample_batch_size) == (200, 4)


def test_an_assignment_goes_before_the_environment_and_that_before_the_file(tmp_path, monkeypatch):
    file = tmp_path / "recipe.toml"
    file.write_text('steps = 10\nbatch_size = 3\nmethod = "lora"\n')
    monkeypatch.setenv("CANICOR_DREAMBOOTH_STEPS", "20")
    monkeypatch.setenv("CANICOR_DREAMBOOTH_BATCH_SIZE", "4")
    found = DreamBooth.of(file, ["batch-size=5", "eight_bit_adam=false", "prompt=a = b"])
    assert (found.method, found.steps, found.batch_size) == ("lora", 20, 5)
    assert (found.eight_bit_adam, found.prompt) == (False, "a = b")


@pytest.mark.parametrize("changes", [{"steps": 0}, {"width": 100}, {"speed": 1}, {"steps": 5, "warm_up_steps": 6}])
def test_a_recipe_that_can_not_be_followed_is_refused(changes):
    with pytest.raises(ValidationError):
        DreamBooth(**changes)


def test_a_recipe_that_can_not_be_read_is_refused(tmp_path):
    (tmp_path / "recipe.toml").write_text("steps =")
    with pytest.raises(InvalidArgument, match="can't be read as TOML"):
        DreamBooth.of(tmp_path / "recipe.toml")
    with pytest.raises(InvalidArgument, match="NAME=VALUE"):
        DreamBooth.of(None, ["steps"])


# What is fitted

EVERYTHING = {
    "steps": 4,
    "precision": "fp16",
    "averaging": 0.9,
    "snr_gamma": 5.0,
    "train_text_encoder": True,
    "accumulation": 2,
    "gradient_checkpointing": True,
    "checkpoint_steps": 2,
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can train in fp16")
def test_with_everything_on_a_stopped_run_ends_as_an_undisturbed_one(tmp_path):
    undisturbed, stopped, again = (tiny.stable_diffusion() for _ in range(3))
    before = weights(undisturbed)
    checkpoint = Checkpoint(tmp_path / "run.pt", "run")
    with pytest.warns(RuntimeWarning, match="can't train in fp16: 32-bit floats"):
        losses = taught(undisturbed, recipe(**EVERYTHING))
    what = recipe(**EVERYTHING | {"precision": "no"})
    with pytest.raises(Killed):
        taught(stopped, what, checkpoint, until=3)
    assert taught(again, what, checkpoint) == losses[2:]
    assert torch.equal(weights(again), weights(undisturbed))
    assert not torch.equal(before, weights(undisturbed))


def test_the_text_encoder_stays_unless_it_is_asked_for():
    pipeline, before = tiny.stable_diffusion(), tiny.stable_diffusion()
    taught(pipeline, recipe(steps=1))
    same = zip(pipeline.text_encoder.parameters(), before.text_encoder.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)
    assert weights_digest(pipeline) != weights_digest(before)


def test_lora_changes_the_attention_alone_and_leaves_no_trace_of_itself():
    pipeline, before = tiny.stable_diffusion(), tiny.stable_diffusion()
    taught(pipeline, recipe(method="lora", lora_rank=2, eight_bit_adam=False, learning_rate=1e-2))
    pairs = zip(pipeline.unet.named_parameters(), before.unet.named_parameters(), strict=True)
    changed = [name for (name, one), (_, other) in pairs if not torch.equal(one, other)]
    assert changed
    assert all("attn" in name for name in changed)


def test_sdxl_is_fitted_too_but_not_its_text_encoders():
    pipeline = tiny.stable_diffusion_xl()
    before = weights(pipeline)
    taught(pipeline, recipe(method="lora", lora_rank=2))
    assert not torch.equal(before, weights(pipeline))
    with pytest.raises(InvalidArgument, match="SDXL's text encoders"):
        taught(pipeline, recipe(train_text_encoder=True))


def test_without_bitsandbytes_adam_keeps_32_bits(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.warns(RuntimeWarning, match="bitsandbytes can't run here"):
        taught(tiny.stable_diffusion(), recipe(steps=1))


def test_the_images_of_the_class_count_by_their_weight():
    def first(weight: float) -> float:
        ((_, loss),) = taught(tiny.stable_diffusion(), recipe(steps=1, prior_weight=weight))
        return loss

    alone, half, whole = (first(weight) for weight in (0.0, 0.5, 1.0))
    assert half - alone == pytest.approx(0.5 * (whole - alone), rel=1e-4)
    assert whole > alone


def test_an_image_that_is_shown_without_words_teaches_nothing_of_them():
    def fitted(dropout: float, *words: str) -> torch.Tensor:
        pipeline = tiny.stable_diffusion()
        asked = [prompts(one) for one in words] * 3
        what = recipe(class_images=0, prompt_dropout=dropout)
        fine_tune(
            pipeline, Lesson(lesson().pixels, asked, lesson().class_pixels[:0], "heart"), what, lambda *_: None
        )
        return weights(pipeline)

    assert torch.equal(fitted(1.0, "Small heart", "Large heart"), fitted(1.0, "a dog", "a cat"))
    assert not torch.equal(fitted(0.0, "Small heart", "Large heart"), fitted(0.0, "a dog", "a cat"))
    assert not torch.equal(fitted(0.5, "Small heart", "Large heart"), fitted(1.0, "Small heart", "Large heart"))


def test_every_image_is_seen_once_before_any_is_seen_again():
    what = recipe(batch_size=3)
    seen = [int(one) for place in range(14) for one in dreambooth._batch(7, what, place)]
    rounds = [seen[start : start + 7] for start in range(0, 42, 7)]
    assert all(Counter(one) == Counter(range(7)) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


# The images of the class


def test_class_images_are_made_once_and_the_same_again(tmp_path):
    pipeline = TextToImage(tiny.stable_diffusion())
    wanted = ClassImages(tmp_path, "digest", "heart", Sampling(SIDE, SIDE, 1, 1.0), 0)
    made = []
    first = wanted.load(5, pipeline, 2, lambda done, total: made.append((done, total)))
    assert (first.shape, made) == ((5, SIDE, SIDE), [(2, 5), (4, 5), (5, 5)])
    assert len({one.tobytes() for one in first}) == 5
    (wanted.folder / "000003.png").unlink()
    kept = (wanted.folder / "000000.png").stat().st_mtime_ns
    np.testing.assert_array_equal(wanted.load(5, pipeline, 2, lambda *_: None), first)
    assert (wanted.folder / "000000.png").stat().st_mtime_ns == kept
    assert '"prompt": "heart"' in (wanted.folder / "about.json").read_text()
    assert ClassImages(tmp_path, "another", "heart", wanted.sampling, 0).folder != wanted.folder


def test_class_images_that_can_not_be_kept_stop_the_run(tmp_path):
    (tmp_path / "file").touch()
    wanted = ClassImages(Path(tmp_path / "file"), "digest", "heart", Sampling(SIDE, SIDE, 1, 1.0), 0)
    with pytest.raises(ResourceExhausted, match="can't be written"):
        wanted.load(1, TextToImage(tiny.stable_diffusion()), 1, lambda *_: None)
