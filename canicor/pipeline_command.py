"""`canicor pipelines`: what the generator's text-to-image backend can be asked for."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from canicor.errors import InvalidArgument
from canicor.pipeline import FAMILIES, INDEX_FILE, PAPER_CLASS_PROMPT, TOKEN, PipelineInfo
from canicor.pipeline_repository import Pipelines
from canicor.settings import Settings
from canicor.vhs import HeartSize

app = typer.Typer(help="Text-to-image pipelines of the store.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Under which the generator will know it.")],
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="As diffusers' save_pretrained writes it.")
    ],
    prompt: Annotated[
        str, typer.Option(help="`{token}` stands for a heart's class, `{vhs}` for its VHS.")
    ] = PAPER_CLASS_PROMPT,
    negative_prompt: Annotated[str, typer.Option(help="What images must not show.")] = "",
    scheduler: Annotated[
        str, typer.Option(help="By its name in diffusers without Scheduler; empty for the folder's own.")
    ] = "DPMSolverMultistep",
    steps: Annotated[int | None, typer.Option(help="Denoising steps, 1 to 1000.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="0 to 50; 0 for models distilled to few steps.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Of images, in pixels.")] = None,
    height: Annotated[int | None, typer.Option(help="Of images, in pixels.")] = None,
) -> None:
    """Take a pipeline's folder into the store; what is left out is as the family has it in diffusers."""
    try:
        family = json.loads((folder / INDEX_FILE).read_bytes())["_class_name"]
        habits = FAMILIES[family]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgument(
            f"{folder} is no pipeline that Canicor knows: its {INDEX_FILE} names none of {', '.join(FAMILIES)}.",
            reason="NO_PIPELINE",
        ) from error
    info = PipelineInfo(
        prompt=prompt,
        tokens={size: str(size) for size in HeartSize} if TOKEN in prompt else {},
        negative_prompt=negative_prompt,
        width=width or habits.side,
        height=height or habits.side,
        # Kandinsky's steps are its own.
        scheduler=scheduler if habits.takes_schedulers else "",
        steps=habits.steps if steps is None else steps,
        guidance_scale=habits.guidance_scale if guidance_scale is None else guidance_scale,
        create_time=datetime.now(UTC),
    )
    typer.echo(f"{name}/{_pipelines().push(name, folder, info)}")


@app.command(name="list")
def list_() -> None:
    """List the pipelines."""
    pipelines = _pipelines()
    table = Table("pipeline", "size", "steps", "taught last by", "prompt")
    for name in pipelines.names():
        for version in pipelines.versions(name):
            _, info = pipelines.read(name, version)
            size, origins = f"{info.width} x {info.height}", ", ".join(info.training_origins)
            table.add_row(f"{name}/{version}", size, str(info.steps), origins, info.prompt)
    Console().print(table)


def _pipelines() -> Pipelines:
    return Pipelines.of(Settings())
