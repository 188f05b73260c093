"""`canicor train tune`: looks for hyper-parameters on the validation split."""

import hashlib
import json
import shlex
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from canicor import store
from canicor.bundle import ModelKind
from canicor.errors import InvalidArgument
from training.command_line import checkpoint_folder, manifest_url, progress_bars


def tune(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST_FILE_OR_URL", help="A dataset manifest (Parquet).")],
    kind: Annotated[ModelKind, typer.Option(help="Of model.")],
    model: Annotated[str, typer.Option(help="Of a classifier: a backbone of the zoo.")] = "",
    pretrained: Annotated[bool, typer.Option(help="Begin with ImageNet's weights, from the network.")] = False,
    stretch: Annotated[bool, typer.Option(help="To a square, as the study did, instead of padding.")] = False,
    trials: Annotated[int, typer.Option(min=1, help="That are to be finished, by all workers together.")] = 30,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most. [default: twice as many as usual]")] = None,
    study: Annotated[str, typer.Option(help="Its name. [default: by what is tuned, so that it goes on]")] = "",
    storage: Annotated[
        str, typer.Option(metavar="URL", help="postgresql://USER:PASSWORD@HOST/NAME. [default: a file below HOME]")
    ] = "",
    ray: Annotated[bool, typer.Option("--ray", help="Spread trials over a cluster, RAY_ADDRESS.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of splits, weights, augmentation, trials.")] = 0,
    size: Annotated[int, typer.Option(help="Width of the model's input in pixels, a multiple of 32.")] = 192,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Look for the hyper-parameters that do best on the validation split.

    The same command goes on where a study stopped, and beside others on the same --storage it shares their trials.
    """
    from canicor.manifest import read
    from training.run import EPOCHS, Plan, input_spec, recipe_for
    from training.tuning.report import write_report
    from training.tuning.search import FIGURES, LOWER, UPPER, Objective, Search, parameters
    from training.tuning.study import SharedStudy

    if kind is ModelKind.KEYPOINTS and (model or pretrained or stretch):
        raise InvalidArgument(
            "--model, --pretrained and --stretch are of a class model: give --kind classifier.",
            reason="BAD_OPTION",
        )
    backbone = None
    if model:
        from training.zoo import Backbone

        backbone = Backbone(model, pretrained=pretrained)
    plan = Plan(kind, "", input_spec(size, square=stretch), recipe_for(kind), seed, backbone=backbone)
    search = Search(plan, epochs or 2 * EPOCHS[kind])
    rows = read(store.read(manifest_url(manifest)))
    subject = search.subject(rows)
    name = study or f"{kind}-{hashlib.sha256(repr(subject).encode()).hexdigest()[:8]}"
    folder = checkpoint_folder()
    shared = SharedStudy(storage or f"sqlite:///{folder / 'tuning.db'}", name, trials, seed)
    shared.create(subject)
    with progress_bars() as progress:
        objective = Objective.load(rows, search, progress)

        def told(finished: int) -> None:
            progress(f"Tuning {kind}", finished, trials)

        if ray:
            from training.tuning.cluster import spread

            spread(shared, objective, told)
        else:
            shared.work(objective, told)
    done = shared.outcome()
    best = done.best_trial
    chosen = parameters(best)
    given = {"model": model, "pretrained": pretrained, "stretch": stretch, "size": size, "seed": seed}
    command = _command("canicor", "train", kind, manifest, **given, **chosen)
    report = folder / f"{name}.html"
    write_report(report, done, kind, subject, command)
    lower, upper = best.user_attrs[LOWER], best.user_attrs[UPPER]
    if as_json:
        figure = {"name": FIGURES[kind], "value": best.value, "lower": lower, "upper": upper}
        told_of = {"study": name, "trial": best.number, "parameters": chosen, "validation": figure}
        typer.echo(json.dumps({**told_of, "command": command, "report": str(report)}))
        return
    table = Table("parameter", "best value", title=f"study {name}, trial {best.number}")
    for parameter, value in chosen.items():
        table.add_row(parameter.replace("_", " "), str(value))
    console = Console()
    console.print(table)
    console.print(f"{FIGURES[kind]} on the validation split: {best.value:.3f} ({lower:.3f} to {upper:.3f})")
    console.print(f"Report: {report}", soft_wrap=True, markup=False)
    typer.echo(command)


def _command(*words: str, **options: Any) -> str:  # noqa: ANN401 - an option is of any type
    """Returns a command line; options that are False or empty are left out."""
    line = list(words)
    for name, value in options.items():
        if value is True:
            line.append(f"--{name}")
        elif value is not False and value != "":
            line += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(line)
