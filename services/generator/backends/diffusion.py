"""A diffusers pipeline at work, in a worker process: the server itself does without torch."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image
from torch import Generator

from canicor.errors import FailedPrecondition
from canicor.generator.v1 import generator_pb2 as pb
from canicor.pipeline import WeightedPrompts, mixing


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


class LoadedPipeline:
    """A pipeline in memory, on a GPU in 16-bit floats where there is one.

    Args:
        folder: As diffusers writes it.
        scheduler: By its name in diffusers without `Scheduler`; empty for the folder's own.

    Raises:
        FailedPrecondition: diffusers can't load it, or knows no text-to-image pipeline of this kind.
    """

    def __init__(self, folder: Path, scheduler: str) -> None:
        # One core for each worker; and more of them would add up the same sums in another order.
        torch.set_num_threads(1)
        device, dtype = ("cuda", torch.float16) if torch.cuda.is_available() else ("cpu", torch.float32)
        try:
            pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(
                folder, torch_dtype=dtype, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise FailedPrecondition(
                f"diffusers can't load this pipeline: {str(error).splitlines()[0]}", reason="BAD_PIPELINE"
            ) from error
        if scheduler:
            # Kandinsky's has the pipeline that takes the steps within.
            steps = getattr(pipeline, "decoder_pipe", pipeline)
            kind = getattr(diffusers, f"{scheduler}Scheduler")
            steps.scheduler = kind.from_config(steps.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline.to(device)
        self._mixes = "prompt_embeds" in signature(type(pipeline).__call__).parameters

    def make(self, asked: Asked, options: pb.GenerationOptions) -> Image.Image:
        """Returns one image, in greys.

        On a CPU, one image takes as long in a batch as alone; and its bytes do not depend on the others.
        """
        word = hashlib.blake2b(f"{asked.seed}/{asked.index}".encode(), digest_size=8).digest()
        noise = Generator().manual_seed(int.from_bytes(word, "big") >> 1)
        image: Image.Image
        (image,) = self._pipeline(
            **self._conditions(asked),
            width=options.width,
            height=options.height,
            num_inference_steps=options.sampler.steps,
            guidance_scale=options.sampler.guidance_scale,
            generator=noise,
        ).images
        return image.convert("L")

    def _conditions(self, asked: Asked) -> dict[str, Any]:
        if not self._mixes:
            # Without embeddings to mix, the nearest prompt is what can be asked for.
            return {
                "prompt": max(asked.prompts, key=lambda one: one[1])[0],
                "negative_prompt": asked.negative or None,
            }
        conditions = {}
        for prefix, prompts in (("", asked.prompts), ("negative_", ((asked.negative, 1.0),))):
            texts, weights = mixing([prompts])
            # What comes back is of Stable Diffusion one embedding, of SDXL a pooled one too, each followed by
            # its negative, which is encoded here like any other.
            encoded = self._pipeline.encode_prompt(
                prompt=texts,
                device=self._pipeline.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
            )[::2]
            for name, one in zip(("prompt_embeds", "pooled_prompt_embeds"), encoded, strict=False):
                mixed = torch.from_numpy(weights).to(one) @ one.flatten(1)
                conditions[prefix + name] = mixed.reshape(1, *one.shape[1:])
        return conditions


@lru_cache(maxsize=1)
def loaded(folder: Path, scheduler: str) -> LoadedPipeline:
    """Returns the pipeline of a folder; the last one stays in memory."""
    return LoadedPipeline(folder, scheduler)
