"""A pipeline to begin with, from the store, a folder or the Hugging Face hub."""

import hashlib
from pathlib import Path

import diffusers
import torch
from diffusers import DiffusionPipeline

from canicor.errors import InvalidArgument, NotFound
from canicor.pipeline import INDEX_FILE, PipelineInfo
from canicor.pipeline_repository import Pipelines

FITTED_FAMILIES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
"""Of diffusers, what can be fine-tuned."""


def load(name: str, pipelines: Pipelines) -> tuple[DiffusionPipeline, PipelineInfo | None]:
    """Returns a pipeline in 32-bit floats, and how it is asked where the store knows.

    Args:
        name: A folder that diffusers wrote; `NAME` or `NAME/VERSION` of the store; a name on the hub.
        pipelines: Of the store.

    Raises:
        InvalidArgument: It is none of these, or of a family that can't be fine-tuned.
    """
    place, info = _found(name, pipelines)
    try:
        # transformers would keep 16-bit floats where the file has them.
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            place,
            dtype=torch.float32,
            # Never a pickle, which may run code.
            use_safetensors=True,
            **({"safety_checker": None} if info is None else {}),
        )
    except (OSError, ValueError) as error:
        stored = ", ".join(pipelines.names()) or "none"
        raise InvalidArgument(
            f"There are no weights {name!r}: give a folder that diffusers wrote, a pipeline of the store (there: "
            f"{stored}), or a name on the Hugging Face hub that this machine can reach.",
            reason="NO_WEIGHTS",
        ) from error
    family = type(pipeline).__name__
    if family not in FITTED_FAMILIES:
        raise InvalidArgument(
            f"{name} is a {family}: only {' and '.join(FITTED_FAMILIES)} can be fine-tuned.",
            reason="PIPELINE_FAMILY",
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, info


def weights_digest(pipeline: DiffusionPipeline) -> str:
    """Returns a SHA-256 over all weights, in lower-case hexadecimal: the same wherever they came from."""
    digest = hashlib.sha256()
    for name, part in sorted(pipeline.components.items()):
        if isinstance(part, torch.nn.Module):
            for key, tensor in sorted(part.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _found(name: str, pipelines: Pipelines) -> tuple[Path | str, PipelineInfo | None]:
    if (Path(name) / INDEX_FILE).is_file():
        return Path(name), None
    stored, _, version = name.partition("/")
    try:
        version, info = pipelines.read(stored, version)
    except (InvalidArgument, NotFound):
        return name, None
    return pipelines.fetch(stored, version), info
