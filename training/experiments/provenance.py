"""What a report says of itself: how to find it again, and what a reader must know first."""

import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import typer

from canicor.manifest import Origin, Row, digest

_PACKAGES = ("canicor", "numpy", "scikit-learn", "timm", "torch", "torchvision")


def made_by(command: str, seed: int, datasets: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Returns what it takes to find the same again.

    Args:
        command: As `command` has it.
        seed: Of all chance.
        datasets: Rows by what they were used for.
    """
    return {
        "command": command,
        "created": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "seed": seed,
        "dataset_digests": {name: digest(rows) for name, rows in datasets.items()},
        "images": {name: len(rows) for name, rows in datasets.items()},
        "versions": {"python": platform.python_version(), **{one: version(one) for one in _PACKAGES}},
    }


def notices(judged_on: Sequence[Row]) -> list[str]:
    """Returns what a reader must know first, given the images that models were judged on."""
    told = ["Not cleared for diagnosis: for research, and for a veterinarian to check."]
    phantoms = [row.origin is Origin.PHANTOM for row in judged_on]
    if all(phantoms):
        told.insert(
            0,
            "Measured on phantoms: procedural pictures, not radiographs of dogs. The figures compare methods with "
            "each other; none of them holds for dogs.",
        )
    elif any(phantoms):
        told.insert(0, "Some of these images are phantoms: procedural pictures, not radiographs of dogs.")
    return told


def command(context: typer.Context) -> str:
    """Returns the command with what was given, so that it can be given again."""
    words = ["canicor", "train"]
    if context.parent and context.parent.command.name == "experiment":
        words.append("experiment")
    words.append(str(context.command.name))
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [parameter.opts[0], str(one)]
    return shlex.join(words)
