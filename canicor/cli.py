"""The `canicor` command. Services and training add theirs through the entry points `canicor.commands`."""

import re
import sys
from collections import defaultdict
from importlib.metadata import entry_points, requires
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from canicor import classify, demo
from canicor.errors import CanicorError
from canicor.labels_command import app as labels_app
from canicor.phantom.command import app as phantom_app
from canicor.pipeline_command import app as pipelines_app

app = typer.Typer(
    help="Measures dog hearts (VHS) on lateral chest radiographs. Not cleared for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_EXTRAS = ["classifier", "generator", "labeling", "training", "diffusers", "ray"]

# Of this project's own metadata, where an extra may bring others of its extras.
_REQUIREMENT = re.compile(r"(?P<package>[\w.-]+)(?:\[(?P<parts>[\w,-]+)\])?.*extra == ['\"](?P<extra>[\w-]+)['\"]")

app.add_typer(labels_app, name="labels")
app.add_typer(phantom_app, name="phantom")
app.add_typer(pipelines_app, name="pipelines")


@app.command("classify")
def classify_command(
    files: Annotated[list[Path], typer.Argument(help="DICOM, PNG, JPEG or TIFF files, or folders of them.")],
    model: Annotated[str, typer.Option(help="NAME or NAME/VERSION; the server's default where left out.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    deadline: Annotated[float, typer.Option(help="Seconds that one radiograph may take.")] = 60.0,
) -> None:
    """Classify radiographs on a running classifier."""
    if not classify.run(files, model=model, as_json=as_json, deadline=deadline):
        raise typer.Exit(1)


@app.command("demo")
def demo_command(
    files: Annotated[list[Path] | None, typer.Argument(help="Radiographs of your own to classify.")] = None,
    images: Annotated[int, typer.Option(min=60, help="Phantoms to learn from.")] = demo.TRAINING_IMAGES,
    held_out: Annotated[int, typer.Option(min=10, help="Phantoms to be tested on.")] = demo.HELD_OUT_IMAGES,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the phantoms.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other phantoms.")] = 0,
    keep_serving: Annotated[bool, typer.Option(help="Leave the services running until Ctrl-C.")] = False,
    running: Annotated[
        bool, typer.Option("--running", help="Use the services that the settings name, and start none.")
    ] = False,
) -> None:
    """Run the whole loop on phantoms: generate, label, train, push, serve and classify."""
    plan = demo.Plan(images, held_out, epochs, seed)
    demo.run(files or [], plan, keep_serving=keep_serving, running=running)


def main() -> None:
    """Runs the command line; whatever is wrong is one sentence and exit status 1."""
    for entry_point in entry_points(group="canicor.commands"):
        app.add_typer(entry_point.load(), name=entry_point.name)
    try:
        app()
    except CanicorError as error:
        _fail(error.message)
    except ValidationError as error:
        _fail("; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()))
    except ModuleNotFoundError as error:
        extras = _extras_with(error.name or "") or _EXTRAS
        _fail(
            f"This command needs the package {error.name!r}, which this installation lacks: install it with the "
            f"extra {' or '.join(extras)}, for example pip install 'canicor[{extras[0]}]'."
        )


def _extras_with(package: str) -> list[str]:
    """Returns the extras that bring a package, as this installation's own metadata has them."""
    packages, parts = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for requirement in requires("canicor") or []:
        if named := _REQUIREMENT.match(requirement):
            packages[named["extra"]].add(named["package"].lower())
            if named["package"] == "canicor":
                parts[named["extra"]].update(named["parts"].split(","))

    def brings(extra: str) -> bool:
        return package.lower() in packages[extra] or any(brings(part) for part in parts[extra])

    return [extra for extra in _EXTRAS if brings(extra)]


def _fail(message: str) -> None:
    Console(stderr=True).print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
