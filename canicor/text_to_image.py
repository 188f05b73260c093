"""A diffusers pipeline at work. Only where diffusers is installed: nothing else here imports it."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Self

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Generator, Tensor

from canicor.errors import FailedPrecondition
from canicor.pipeline import Computing, WeightedPrompts, mixing

# Bars belong to a command that runs at a terminal, which draws its own.
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()


_USUAL = Computing()
_AT_ONCE_ON_GPU = 8

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Asked:
    """What one image shall show.

    Attributes:
        prompts: Weighted.
        negative: What it must not show.
        seed, index: Of the batch and of the image, from which its noise is drawn.
    """

    prompts: WeightedPrompts
    negative: str
    seed: int
    index: int

    @property
    def nearest(self) -> str:
        """The prompt that weighs most."""
        return max(self.prompts, key=lambda one: one[1])[0]

    @property
    def noise(self) -> Generator:
        """The random numbers of this image, on the CPU: the same on any device and in any company."""
        word = hashlib.blake2b(f"{self.seed}/{self.index}".encode(), digest_size=8).digest()
        return Generator().manual_seed(int.from_bytes(word, "big") >> 1)


@dataclass(frozen=True)
class Sampling:
    """How images are made.

    Attributes:
        width, height: In pixels.
        steps: Denoising steps.
        guidance_scale: Of classifier-free guidance; at most 1 is none.
    """

    width: int
    height: int
    steps: int
    guidance_scale: float


Show = Callable[[float, list[Image.Image]], None]
"""Told the share of the steps that are done, and what the images look like then."""


class TextToImage:
    """A pipeline in memory.

    Args:
        pipeline: Of diffusers; on the device that it shall use.
        batch_size: How many images are best made at once.
    """

    def __init__(self, pipeline: DiffusionPipeline, batch_size: int = 1) -> None:
        self.pipeline = pipeline
        self.batch_size = batch_size
        pipeline.set_progress_bar_config(disable=True)
        self._mixes = "prompt_embeds" in signature(type(pipeline).__call__).parameters

    @classmethod
    def load(cls, folder: Path, scheduler: str = "", computing: Computing = _USUAL) -> Self:
        """Loads a folder, onto a GPU where there is one. The network is never asked.

        Args:
            folder: As diffusers writes it.
            scheduler: By its name in diffusers without `Scheduler`; empty for the folder's own.
            computing: How its images are computed.

        Raises:
            FailedPrecondition: diffusers can't load it, or knows no text-to-image pipeline of this kind.
        """
        on_gpu = torch.cuda.is_available()
        try:
            pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(
                folder,
                dtype=dtype_of(computing.precision, on_gpu=on_gpu),
                local_files_only=True,
                # Never a pickle, which may run code.
                use_safetensors=True,
            )
        except (OSError, ValueError) as error:
            raise FailedPrecondition(
                f"diffusers can't load this pipeline: {str(error).splitlines()[0]}", reason="BAD_PIPELINE"
            ) from error
        if scheduler:
            # Kandinsky's has the pipeline that takes the steps within.
            stepper = getattr(pipeline, "decoder_pipe", pipeline)
            kind = getattr(diffusers, f"{scheduler}Scheduler")
            # From the very last timestep on (Lin et al. 2024): models distilled to few steps were taught so.
            stepper.scheduler = kind.from_config(stepper.scheduler.config, timestep_spacing="trailing")
        pipeline.to("cuda" if on_gpu else "cpu")
        if computing.compiled and on_gpu:
            stepping = getattr(pipeline, "decoder_pipe", pipeline)
            stepping.unet = torch.compile(stepping.unet)
        return cls(pipeline, computing.batch_size or (_AT_ONCE_ON_GPU if on_gpu else 1))

    @torch.no_grad()
    def make(self, asked: Sequence[Asked], sampling: Sampling, show: Show | None = None) -> list[Image.Image]:
        """Returns an image for each, in greys.

        An image's bytes may hang on how many are made at once, by a grey level here and there: a processor adds
        up in another order.

        Args:
            asked: What they show.
            sampling: How they are made.
            show: Shown them while they are made, at every quarter of the steps; of Stable Diffusion and SDXL.
        """
        images: list[Image.Image] = self.pipeline(
            **self._conditions(asked),
            **self._showing(sampling.steps, show),
            width=sampling.width,
            height=sampling.height,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            generator=[one.noise for one in asked],
        ).images
        return [image.convert("L") for image in images]

    def _showing(self, steps: int, show: Show | None) -> dict[str, Any]:
        if show is None or not hasattr(self.pipeline, "vae"):
            return {}
        quarters = {round(steps * share) for share in (0.25, 0.5, 0.75)} - {0, steps}

        def step_done(
            pipeline: DiffusionPipeline, step: int, _: int, tensors: dict[str, Tensor]
        ) -> dict[str, Tensor]:
            if step + 1 in quarters:
                autoencoder = pipeline.vae
                scaled = tensors["latents"] / autoencoder.config.scaling_factor
                pictures = autoencoder.decode(scaled.to(autoencoder.dtype), return_dict=False)[0]
                images = pipeline.image_processor.postprocess(pictures)
                show((step + 1) / steps, [image.convert("L") for image in images])
            return {}

        return {"callback_on_step_end": step_done}

    def _conditions(self, asked: Sequence[Asked]) -> dict[str, Any]:
        if not self._mixes:
            # Without embeddings to mix, the nearest prompt is what can be asked for.
            return {
                "prompt": [one.nearest for one in asked],
                "negative_prompt": [one.negative for one in asked],
            }
        positive = mixed(self.pipeline, [one.prompts for one in asked])
        negative = mixed(self.pipeline, [((one.negative, 1.0),) for one in asked])
        return positive | {f"negative_{name}": one for name, one in negative.items()}


def mixed(pipeline: DiffusionPipeline, asked: Sequence[WeightedPrompts]) -> dict[str, Tensor]:
    """Returns the embeddings of weighted prompts, by what Stable Diffusion's or SDXL's pipeline calls them.

    Each text is encoded once. Gradients reach the text encoder, unless they are turned off.

    Returns:
        `prompt_embeds` [N, tokens, channels], and of SDXL `pooled_prompt_embeds` [N, channels].
    """
    texts, weights = mixing(asked)
    # Each kind of embedding is followed by its negative, which is not asked for.
    encoded = pipeline.encode_prompt(
        prompt=texts, device=pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )[::2]
    return {
        name: torch.tensordot(torch.from_numpy(weights).to(one), one, 1)
        for name, one in zip(("prompt_embeds", "pooled_prompt_embeds"), encoded, strict=False)
    }


def dtype_of(precision: str, *, on_gpu: bool) -> torch.dtype:
    """Returns what a precision of `Computing` is on a device."""
    if precision == "auto":
        precision = "fp16" if on_gpu else "fp32"
    if precision == "fp16" and not on_gpu:
        warnings.warn("A CPU has no fast 16-bit floats of this kind: fp32 is taken.", RuntimeWarning, stacklevel=2)
        precision = "fp32"
    return _DTYPES[precision]
