"""The `canicor` command. Services and training add theirs through the entry points `canicor.commands`."""

import sys
from importlib.metadata import entry_points

import typer
from pydantic import ValidationError
from rich.console import Console

from canicor.errors import CanicorError

app = typer.Typer(
    help="Measures dog hearts (VHS) on lateral chest radiographs. Not cleared for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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
        _fail(
            f"This command needs the package {error.name!r}, which this installation lacks: install it with the "
            "extra of the room you use, for example pip install 'canicor[classifier]'."
        )


def _fail(message: str) -> None:
    Console(stderr=True).print(f"[red]error:[/] {message}", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
