"""One run of DreamBooth: a manifest's rows -> a pipeline in the store."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from canicor.bundle import InputSpec
from canicor.errors import InvalidArgument
from canicor.manifest import Row, digest
from canicor.model_input import ResizeRule
from canicor.phantom.heart import HIGHEST_VHS, LOWEST_VHS
from canicor.pipeline import CARD_FILE, FAMILIES, INFO_FILE, TOKEN, PipelineInfo, WeightedPrompts, prompts
from canicor.pipeline_repository import Pipelines
from canicor.text_to_image import Asked, Sampling, TextToImage
from canicor.vhs import HeartSize
from training import tracking
from training.checkpoint import Checkpoint
from training.dataset import Images, Progress, counting, split
from training.generator.class_images import ClassImages
from training.generator.dreambooth import Lesson, fine_tune
from training.generator.loading import load, weights_digest
from training.generator.pushing import card, push
from training.generator.recipe import DreamBooth
from training.processes import is_main
from training.run import origins

_LOGGED_STEPS = 10
"""After so many, the loss is written down."""


@dataclass(frozen=True)
class Place:
    """Where a run reads and leaves things.

    Attributes:
        pipelines: Where the result goes, and what it may begin with.
        folder: Of checkpoints, class images and validation images.
        tracking: URI of the MLflow store; None for nowhere.
    """

    pipelines: Pipelines
    folder: Path
    tracking: str | None


def dreambooth(
    name: str,
    rows: Sequence[Row],
    recipe: DreamBooth,
    captions: Mapping[str, str],
    place: Place,
    progress: Progress,
) -> str:
    """Fine-tunes a pipeline on the training split of some rows, puts it into the store and returns its version.

    Args:
        name: Under which it is stored.
        rows: Of manifests; the split is the one that a classifier with the same rows and seed is trained on.
        recipe: How.
        captions: Prompts of single images, by the SHA-256 of their bytes, in place of the recipe's.
        place: Where.
        progress: Told how far it is.

    Raises:
        CanicorError: Rows, images, weights or recipe are not fit for it, or nothing can be written.
    """
    # A bad name or a store that does not answer shows now, not after the training.
    place.pipelines.versions(name)
    taught = [row for row in split(rows, recipe.seed) if row.split == "train"]
    asked = [_asked(row, recipe, captions) for row in taught]
    spec = InputSpec(height=recipe.height, width=recipe.width, resize=ResizeRule.LETTERBOX)
    images = Images.load(taught, spec, counting(progress, "Reading images", len(taught)))
    pipeline, before = load(recipe.pipeline, place.pipelines)
    base_digest = weights_digest(pipeline)
    about = _info(taught, recipe, before or _as_usual(pipeline), base_digest)
    sampling = Sampling(recipe.width, recipe.height, about.steps, about.guidance_scale)
    made = ClassImages(
        place.folder / "class-images", base_digest, recipe.class_prompt, sampling, recipe.seed
    ).load(
        recipe.class_images,
        TextToImage(pipeline),
        recipe.sample_batch_size,
        lambda done, total: progress("Making class images", done, total),
    )
    run = _identity(about, captions)
    checkpoint = Checkpoint(place.folder / f"{name}-{run[:12]}.pt", run)
    with _logged(name, about, place, checkpoint) as logged:

        def step_done(step: int, loss: float) -> None:
            progress(f"Fine-tuning, loss {loss:.3f}", step, recipe.steps)
            if step % _LOGGED_STEPS == 0 and is_main():
                logged.loss(step, loss)
            if recipe.validation_steps and step % recipe.validation_steps == 0 and is_main():
                _show(pipeline, recipe, sampling, place.folder / f"{name}-{run[:12]}" / f"{step:06d}")

        fine_tune(pipeline, Lesson(images.pixels, asked, made, recipe.class_prompt), recipe, step_done, checkpoint)
        if not is_main():
            return ""
        text = card(name, about, len(taught))
        version = push(place.pipelines, name, pipeline, about, text)
        logged.result({}, {INFO_FILE: about.model_dump_json(indent=2), CARD_FILE: text})
    checkpoint.remove()
    return version


def read_captions(file: Path | None) -> dict[str, str]:
    """Reads a JSON object of prompts by the SHA-256 of an image's bytes.

    Raises:
        InvalidArgument: It is none.
    """
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{file} can't be read as JSON: {error}.", reason="BAD_CAPTIONS") from error
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise InvalidArgument(
            f"{file} is no JSON object of prompts by the SHA-256 of an image.", reason="BAD_CAPTIONS"
        )
    return found


def _asked(row: Row, recipe: DreamBooth, captions: Mapping[str, str]) -> WeightedPrompts:
    return prompts(captions.get(row.image_sha256, recipe.prompt), recipe.tokens[row.heart_size], row.vhs)


def _as_usual(pipeline: DiffusionPipeline) -> PipelineInfo:
    """How a pipeline is asked that did not come from the store."""
    habits = FAMILIES[type(pipeline).__name__]
    return PipelineInfo(
        prompt=TOKEN,
        width=habits.side,
        height=habits.side,
        steps=habits.steps,
        guidance_scale=habits.guidance_scale,
        create_time=datetime.now(UTC),
    )


def _info(rows: Sequence[Row], recipe: DreamBooth, before: PipelineInfo, base_digest: str) -> PipelineInfo:
    known = [row.vhs for row in rows if row.vhs is not None] or [LOWEST_VHS, HIGHEST_VHS]
    return before.model_copy(
        update={
            "prompt": recipe.prompt,
            "tokens": recipe.tokens if TOKEN in recipe.prompt else {},
            "lowest_vhs": max(min(known), LOWEST_VHS),
            "highest_vhs": min(max(known), HIGHEST_VHS),
            "width": recipe.width,
            "height": recipe.height,
            # What it learnt first it still knows: what began with phantoms is never canine alone.
            "training_origins": tuple(sorted({*before.training_origins, *origins(rows)})),
            "training_dataset_digest": digest(rows),
            "training_plan": {"base_digest": base_digest, **recipe.model_dump(mode="json")},
            "metrics": {},
            "create_time": datetime.now(UTC),
            "files": {},
        }
    )


def _identity(about: PipelineInfo, captions: Mapping[str, str]) -> str:
    """Returns a digest over all that makes the run."""
    made_by = about.model_dump(mode="json", include={"training_dataset_digest", "training_plan"})
    # How often a run is looked at changes nothing of it.
    plan: dict[str, Any] = made_by["training_plan"]
    for name in ("checkpoint_steps", "validation_steps", "pipeline"):
        plan.pop(name)
    content = json.dumps([made_by, dict(captions), torch.__version__], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _logged(
    name: str, about: PipelineInfo, place: Place, checkpoint: Checkpoint
) -> AbstractContextManager[tracking.Run]:
    return tracking.logged(
        place.tracking if is_main() else None,
        name,
        f"{about.create_time:%Y%m%dT%H%M%SZ}-{about.training_dataset_digest[:8]}",
        {"training_dataset_digest": about.training_dataset_digest, **about.training_plan},
        tracking.Identity(checkpoint.run, checkpoint.file.exists()),
    )


def _show(pipeline: DiffusionPipeline, recipe: DreamBooth, sampling: Sampling, folder: Path) -> None:
    """Makes an image of each class by the weights as they are, the same noise for all."""
    pipeline.unet.eval()
    folder.mkdir(parents=True, exist_ok=True)
    for heart_size, vhs in ((HeartSize.SMALL, 7.5), (HeartSize.NORMAL, 9.1), (HeartSize.LARGE, 11.1)):
        asked = Asked(prompts(recipe.prompt, recipe.tokens[heart_size], vhs), "", recipe.seed, 0)
        (image,) = TextToImage(pipeline).make([asked], sampling)
        image.save(folder / f"{heart_size}.png")
    pipeline.unet.train()
