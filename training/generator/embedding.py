"""Prompts -> what a UNet is conditioned by."""

from collections.abc import Sequence

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from canicor.pipeline import WeightedPrompts, mixing


def embeddings(pipeline: StableDiffusionPipeline, asked: Sequence[WeightedPrompts]) -> Tensor:
    """Returns the embeddings [N, tokens, channels] of weighted prompts; each text is encoded once.

    Gradients reach the text encoder, unless they are turned off.
    """
    texts, weights = mixing(asked)
    encoded, _ = pipeline.encode_prompt(texts, pipeline.device, 1, False)
    return torch.einsum("nt,tlc->nlc", torch.from_numpy(weights).to(encoded), encoded)
