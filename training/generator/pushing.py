"""Puts a pipeline that was taught into the store, with its card."""

import tempfile
from importlib.resources import files
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from jinja2 import Environment, StrictUndefined

from canicor.errors import ResourceExhausted
from canicor.pipeline import CARD_FILE, PipelineInfo
from canicor.pipeline_repository import Pipelines


def card(name: str, info: PipelineInfo, count: int) -> str:
    """Returns the pipeline's card, Markdown.

    Args:
        name: The pipeline's.
        info: What it was taught and how it is asked.
        count: Images that it was taught by.
    """
    template = files("training.generator").joinpath("card.md.template").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    return environment.from_string(template).render(name=name, info=info, count=count)


def push(pipelines: Pipelines, name: str, pipeline: DiffusionPipeline, info: PipelineInfo, card: str) -> str:
    """Writes a pipeline as a new version and returns it.

    Args:
        pipelines: Where it goes.
        name: Its name.
        pipeline: Its weights become floats of 16 bits: half the bytes, and no worse a picture.
        info: How it is asked.
        card: As `card` returns it.

    Raises:
        ResourceExhausted: The folder of temporary files is full or can't be written.
        Unavailable: The store does not answer, or is full.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            pipeline.to(torch.float16).save_pretrained(folder)
            (Path(folder) / CARD_FILE).write_text(card)
            return pipelines.push(name, Path(folder), info)
    except OSError as error:
        raise ResourceExhausted(f"The pipeline can't be written: {error}.", reason="NO_SPACE") from error
