"""`canicor phantom`: folders, contact sheets and the page that builds one phantom up."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from canicor.errors import InvalidArgument
from canicor.phantom import folder as folders
from canicor.phantom import sheets
from canicor.phantom.breeds import BreedType
from canicor.phantom.wishes import LateralView, Wishes
from canicor.vhs import HeartSize

app = typer.Typer(
    help="Draw phantoms: procedural chest radiographs with exact key points. Not canine, not for diagnosis.",
    no_args_is_help=True,
)

Seed = Annotated[int, typer.Option(min=0, help="Another seed, other phantoms.")]


@app.command("write")
def write_command(
    folder: Annotated[Path, typer.Argument(help="Where images, manifest and truth go.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: Seed = 0,
    image_format: Annotated[folders.ImageFormat, typer.Option("--format", help="Of the images.")] = (
        folders.ImageFormat.PNG
    ),
    size: Annotated[
        tuple[int, int] | None, typer.Option(help="Width and height; 500 to 3000 pixels wide where left out.")
    ] = None,
    heart_size: Annotated[HeartSize | None, typer.Option(help="The class of all.")] = None,
    vhs_range: Annotated[tuple[float, float] | None, typer.Option(help="Lowest and highest VHS.")] = None,
    breed: Annotated[BreedType | None, typer.Option(help="How all dogs are built.")] = None,
    view: Annotated[LateralView | None, typer.Option(help="The side on the table, left or right.")] = None,
    fix: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of a parameter that is not to be drawn; may be repeated.")
    ] = None,
) -> None:
    """Write a folder of phantoms with a dataset manifest and a line of truth for each."""
    fixed = dict(map(_assignment, fix or []))
    wishes = Wishes(heart_size=heart_size, vhs_range=vhs_range, breed=breed, view=view, fixed=fixed)
    order = folders.Order(seed, image_format, size, wishes)
    with Progress() as progress:
        task = progress.add_task("Drawing", total=count)
        folders.write(folder, count, order, lambda: progress.advance(task))


@app.command("sheet")
def sheet_command(
    file: Annotated[Path, typer.Argument(help="The picture to write, PNG or JPEG.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 48,
    seed: Seed = 0,
) -> None:
    """Write a contact sheet."""
    sheets.contact_sheet(seed, count).save(file)


@app.command("parts")
def parts_command(
    file: Annotated[Path, typer.Argument(help="The picture to write, PNG or JPEG.")],
    index: Annotated[int, typer.Option(min=0, help="Which phantom of the seed.")] = 0,
    seed: Seed = 0,
) -> None:
    """Write a page that shows one phantom built up part by part."""
    sheets.part_by_part(seed, index).save(file)


def _assignment(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise InvalidArgument(
            f"--fix takes NAME=NUMBER, not {text}.", reason="BAD_ASSIGNMENT", field="fix"
        ) from error
