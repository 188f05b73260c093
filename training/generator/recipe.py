"""How a text-to-image model is fine-tuned by DreamBooth (Ruiz et al. 2023): every number, with the study's own."""

import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from canicor.errors import InvalidArgument
from canicor.pipeline import PAPER_CLASS_PROMPT, PAPER_PROMPT
from canicor.vhs import HeartSize
from training.processes import Precision


class Method(StrEnum):
    """What is fitted."""

    FULL = "full"
    """Every weight of the UNet."""
    LORA = "lora"
    """Matrices of low rank beside those of its attention (Hu et al. 2022): a tenth of the memory."""


class LearningRateSchedule(StrEnum):
    """How the learning rate runs after the warm-up, by diffusers' names."""

    COSINE = "cosine"
    LINEAR = "linear"
    CONSTANT = "constant_with_warmup"


class DreamBooth(BaseSettings):
    """What the study did, by default; what it is silent about is as diffusers' own script has it."""

    model_config = SettingsConfigDict(env_prefix="CANICOR_DREAMBOOTH_", extra="forbid", frozen=True)

    pipeline: str = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        description="What to begin with: a folder that diffusers wrote, a pipeline of the store, or a name on the "
        "Hugging Face hub.",
    )
    prompt: str = Field(
        PAPER_PROMPT, description="Of an image; `{token}` stands for its class, `{vhs}` for its VHS in vertebrae."
    )
    class_prompt: str = Field(PAPER_CLASS_PROMPT, description="Of the images that keep the model from forgetting.")
    token_small: str = Field("Small", min_length=1, description="The token of small hearts.")
    token_normal: str = Field("Normal", min_length=1, description="The token of normal hearts.")
    token_large: str = Field("Large", min_length=1, description="The token of large hearts.")
    width: int = Field(512, ge=64, le=2048, multiple_of=8, description="Of the images, in pixels.")
    height: int = Field(512, ge=64, le=2048, multiple_of=8, description="Of the images, in pixels.")
    method: Method = Field(Method.FULL, description="full or lora: what is fitted.")
    lora_rank: int = Field(16, ge=1, le=1024, description="Of LoRA's matrices.")
    train_text_encoder: bool = Field(False, description="Fit the text encoder too; not SDXL's.")
    steps: int = Field(5000, ge=1, description="Of the optimiser.")
    batch_size: int = Field(2, ge=1, description="Images a step, of all processes together.")
    accumulation: int = Field(1, ge=1, description="Batches whose gradients are added up for one step.")
    learning_rate: float = Field(5e-6, gt=0, le=1, description="The highest.")
    schedule: LearningRateSchedule = Field(
        LearningRateSchedule.COSINE, description="cosine, linear or constant_with_warmup: how it runs."
    )
    warm_up_steps: int = Field(0, ge=0, description="In which it rises.")
    eight_bit_adam: bool = Field(True, description="AdamW with a state of 8 bits, by bitsandbytes.")
    weight_decay: float = Field(0.01, ge=0, description="Of AdamW.")
    precision: Precision = Field(Precision.FP16, description="no, bf16 or fp16: what is computed in.")
    gradient_checkpointing: bool = Field(False, description="Compute twice, to keep less in memory.")
    class_images: int = Field(200, ge=0, description="Of the model as it was; 0 for no prior preservation.")
    prior_weight: float = Field(1.0, ge=0, description="Of their loss beside that of the images.")
    prompt_dropout: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the images that are shown without words, so that guidance leads away from no look.",
    )
    sample_batch_size: int = Field(4, ge=1, description="Of them made at once.")
    averaging: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="What the weights' moving average keeps of itself at a step; 0 for none.",
    )
    snr_gamma: float = Field(
        0.0, ge=0, description="Caps the weight of timesteps with little noise (min-SNR: 5); 0 weighs all alike."
    )
    checkpoint_steps: int = Field(500, ge=1, description="After so many, the run can go on from there.")
    validation_steps: int = Field(500, ge=0, description="After so many, an image of each class is made; 0 never.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of order, noise and class images.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Takes what is given alone: `of` says where it comes from."""
        return (init_settings,)

    @classmethod
    def of(cls, file: Path | None = None, assignments: Iterable[str] = ()) -> Self:
        """Returns the recipe: assignments over the environment over a file over the defaults.

        Args:
            file: TOML.
            assignments: `NAME=VALUE`.

        Raises:
            InvalidArgument: The file can't be read, or an assignment is none.
            pydantic.ValidationError: A name is unknown or a value out of range.
        """
        return cls(**{**_read(file), **EnvSettingsSource(cls)(), **dict(map(_assignment, assignments))})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warm_up_steps > self.steps:
            raise ValueError(f"warm_up_steps are at most all steps, not {self.warm_up_steps} of {self.steps}")
        return self

    @property
    def tokens(self) -> dict[HeartSize, str]:
        """The token of each class."""
        return {
            HeartSize.SMALL: self.token_small,
            HeartSize.NORMAL: self.token_normal,
            HeartSize.LARGE: self.token_large,
        }


def _read(file: Path | None) -> dict[str, object]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{file} can't be read as TOML: {error}.", reason="BAD_CONFIG") from error


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument(f"--set takes NAME=VALUE, not {text}.", reason="BAD_ASSIGNMENT", field="set")
    return name.strip().replace("-", "_"), value.strip()
