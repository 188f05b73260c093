"""A text-to-image pipeline: the folder that diffusers reads, and in it one file that says how Canicor asks it."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from canicor.bundle import Metric
from canicor.errors import InvalidArgument
from canicor.vhs import HeartSize, heart_size

INFO_FILE = "canicor.json"
INDEX_FILE = "model_index.json"
"""diffusers' own: of which class the pipeline is, and each of its parts."""
CARD_FILE = "card.md"

TOKEN, VHS = "{token}", "{vhs}"
"""What stands in a prompt for the class's token, and for the VHS."""

VHS_STEP = 0.5
"""Of the numbers that are written into prompts, in vertebrae. A VHS between two is the mix of both prompts."""

PAPER_PROMPT = f"photo of {TOKEN} Cardiovascular Thoracic radiograph x-ray"
PAPER_CLASS_PROMPT = "photo of Cardiovascular Thoracic radiograph x-ray"
"""The study's prompts: of its images, and of the class that they are instances of."""

WeightedPrompts = tuple[tuple[str, float], ...]
"""Prompts and how much of each: the embedding of the whole is the weighted mean of theirs."""


class Habits(NamedTuple):
    """How a family of pipelines is asked where nothing else is known: diffusers' own defaults."""

    side: int
    steps: int
    guidance_scale: float
    takes_schedulers: bool = True


FAMILIES: Mapping[str, Habits] = {
    "StableDiffusionPipeline": Habits(512, 50, 7.5),
    "StableDiffusionXLPipeline": Habits(1024, 50, 5.0),
    "KandinskyV22CombinedPipeline": Habits(512, 100, 4.0, takes_schedulers=False),
}
"""By the pipeline's class in diffusers."""


@dataclass(frozen=True)
class Computing:
    """How a machine computes images; it says nothing of what they show.

    Attributes:
        precision: `fp32`, `bf16` or `fp16`; `auto` for fp16 on a GPU and fp32 on a CPU. A CPU that is asked for
            fp16 computes in fp32.
        batch_size: Images made at once; 0 for 8 on a GPU and 1 on a CPU, where several at once take as long.
        compiled: Whether a GPU runs the UNet compiled: minutes at the start, faster from then on.
    """

    precision: str = "auto"
    batch_size: int = 0
    compiled: bool = False


class PipelineInfo(BaseModel):
    """How a pipeline is asked, and what it was taught.

    Attributes:
        prompt: May hold `{token}` and `{vhs}`.
        tokens: What `{token}` stands for, by class.
        lowest_vhs, highest_vhs: Between them it was taught, in vertebrae; all that may be asked for where that is
            not known.
        negative_prompt: What its images must not show.
        width, height: In pixels, of the images that it was taught.
        scheduler: That takes the steps, by its name in diffusers without `Scheduler`; empty for the folder's own.
        steps: Denoising steps, 1 to 1000.
        guidance_scale: Of classifier-free guidance (Ho & Salimans 2022); 1 is none.
        training_origins: Of what it was taught last, as `canicor.manifest.Origin` has them; none where that is not
            known.
        training_dataset_digest: Of those images.
        training_plan: How it was taught.
        metrics: What its images are worth, by name.
        create_time: When it was made, or taken in.
        files: SHA-256 of each other file of the folder, by its path there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: str = Field(min_length=1, max_length=1000)
    tokens: dict[HeartSize, str] = Field(default_factory=dict)
    lowest_vhs: float = Field(4.0, ge=4, le=20)
    highest_vhs: float = Field(20.0, ge=4, le=20)
    negative_prompt: str = Field("", max_length=1000)
    width: int = Field(ge=64, le=2048)
    height: int = Field(ge=64, le=2048)
    scheduler: str = "DPMSolverMultistep"
    steps: int = Field(ge=1, le=1000)
    guidance_scale: float = Field(ge=0, le=50)
    training_origins: tuple[str, ...] = ()
    training_dataset_digest: str = ""
    training_plan: dict[str, JsonValue] = {}
    metrics: dict[str, Metric] = {}
    create_time: datetime
    files: dict[str, str] = {}

    @field_validator("tokens")
    @classmethod
    def _all_or_none(cls, tokens: dict[HeartSize, str]) -> dict[HeartSize, str]:
        if tokens and set(tokens) != set(HeartSize):
            raise ValueError("every class needs a token, or none has one")
        return tokens

    @property
    def digest(self) -> str:
        """SHA-256 over the other files, in lower-case hexadecimal: the same for the same weights."""
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()

    def prompts(self, vhs: float, prompt: str = "") -> WeightedPrompts:
        """Returns what to ask for so that an image shows a heart of this VHS.

        Args:
            vhs: In vertebrae.
            prompt: Instead of the pipeline's own.

        Raises:
            InvalidArgument: The prompt gives the VHS, and the pipeline was not taught this one.
        """
        prompt = prompt or self.prompt
        if VHS in prompt and not self.lowest_vhs <= vhs <= self.highest_vhs:
            raise InvalidArgument(
                f"This pipeline was taught hearts of {self.lowest_vhs:g} to {self.highest_vhs:g} vertebrae, "
                f"not of {vhs:g}.",
                reason="VHS_NOT_TAUGHT",
            )
        return prompts(prompt, self.tokens.get(heart_size(vhs), ""), vhs)


def prompts(prompt: str, token: str = "", vhs: float | None = None) -> WeightedPrompts:
    """Returns what asks for one heart: a prompt, or where it gives the VHS the two whose numbers lie around it.

    Args:
        prompt: May hold `{token}` and `{vhs}`.
        token: Of the heart's class.
        vhs: In vertebrae.

    Raises:
        InvalidArgument: The prompt gives the VHS, and there is none.
    """
    # Without a token, no space is left where it stood.
    named = " ".join(prompt.replace(TOKEN, token).split())
    if VHS not in named:
        return ((named, 1.0),)
    if vhs is None:
        raise InvalidArgument(
            f"A prompt with {VHS} needs the VHS of every heart: only a class is known of one.", reason="NO_VHS"
        )
    below = math.floor(vhs / VHS_STEP)
    above = vhs / VHS_STEP - below
    weights = {below: 1.0 - above, below + 1: above}
    return tuple(
        (named.replace(VHS, f"{number * VHS_STEP:.1f}"), weight) for number, weight in weights.items() if weight
    )


def mixing(asked: Sequence[WeightedPrompts]) -> tuple[list[str], NDArray[np.float32]]:
    """Returns each text once, and of which and how much each embedding is made: float32 [asked, texts]."""
    texts = sorted({text for one in asked for text, _ in one})
    weights = np.zeros((len(asked), len(texts)), np.float32)
    for row, one in zip(weights, asked, strict=True):
        for text, weight in one:
            row[texts.index(text)] = weight
    return texts, weights
