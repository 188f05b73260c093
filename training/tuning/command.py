"""`canicor train tune`: looks for hyper-parameters on the validation split."""

import hashlib
import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from canicor import store
from canicor.bundle import ModelKind
from canicor.errors import InvalidArgument
from training.progress import bars
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from training.tuning.search import Search

# As `canicor train keypoints` has it.
_KEY_POINT_SIZE = 192


def tune(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST_FILE_OR_URL", help="A dataset manifest (Parquet).")],
    kind: Annotated[ModelKind, typer.Option(help="Of model.")],
    preset: Annotated[str | None, typer.Option(help="Of a class model: what trials do not choose.")] = None,
    model: Annotated[str | None, typer.Option(help="Of a class model: a backbone of the zoo.")] = None,
    pretrained: Annotated[
        bool | None, typer.Option("--pretrained/--no-pretrained", help="As `canicor train classifier`.")
    ] = None,
    frozen: Annotated[
        bool | None, typer.Option("--frozen/--no-frozen", help="As `canicor train classifier`.")
    ] = None,
    stretch: Annotated[
        bool | None, typer.Option("--stretch/--no-stretch", help="As `canicor train classifier`.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="That are to be finished, by all workers together.")] = 30,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most. [default: twice as many as usual]")] = None,
    study: Annotated[str, typer.Option(help="Its name. [default: by what is tuned, so that it goes on]")] = "",
    storage: Annotated[
        str, typer.Option(metavar="URL", help="postgresql://USER:PASSWORD@HOST/NAME. [default: a file below HOME]")
    ] = "",
    ray: Annotated[bool, typer.Option("--ray", help="Spread trials over a cluster, RAY_ADDRESS.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of splits, weights, augmentation, trials.")] = 0,
    size: Annotated[int | None, typer.Option(help="Width of the model's input in pixels.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Look for the hyper-parameters that do best on the validation split.

    The same command goes on where a study stopped, and beside others on the same --storage it shares their trials.
    """
    from canicor.manifest import read
    from training.tuning.report import write_report
    from training.tuning.search import FIGURES, LOWER, UPPER, Objective, parameters
    from training.tuning.study import SharedStudy

    options = {"preset": preset, "model": model, "pretrained": pretrained, "frozen": frozen, "stretch": stretch}
    given = {name: one for name, one in options.items() if one is not None}
    search = _search(kind, given, size, epochs, seed)
    rows = read(store.read(store.url_of(manifest)))
    subject = search.subject(rows)
    name = study or f"{kind}-{hashlib.sha256(repr(subject).encode()).hexdigest()[:8]}"
    folder = TrainingSettings().training_folder
    shared = SharedStudy(storage or f"sqlite:///{folder / 'tuning.db'}", name, trials, seed)
    shared.create(subject)
    with bars() as progress:
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
    command = _command(
        "canicor", "train", kind, manifest, **given, size=search.plan.spec.width, seed=seed, **chosen
    )
    report = folder / f"{name}.html"
    write_report(report, done, kind, subject, command)
    lower, upper = best.user_attrs[LOWER], best.user_attrs[UPPER]
    if as_json:
        figure = {"name": FIGURES[kind], "value": best.value, "lower": lower, "upper": upper}
        told_of = {"study": name, "trial": best.number, "parameters": chosen, "validation": figure}
        where = {"origins": subject["origins"], "command": command, "report": str(report)}
        typer.echo(json.dumps(told_of | where))
        return
    table = Table("parameter", "best value", title=f"study {name}, trial {best.number}")
    for parameter, value in chosen.items():
        table.add_row(parameter.replace("_", " "), str(value))
    console = Console()
    console.print(table)
    figure_told = f"{best.value:.3f} ({lower:.3f} to {upper:.3f})"
    console.print(f"{FIGURES[kind]} on the validation split, of {subject['origins']} images: {figure_told}")
    console.print(f"Report: {report}", soft_wrap=True, markup=False)
    typer.echo(command)


def _search(kind: ModelKind, given: dict[str, Any], size: int | None, epochs: int | None, seed: int) -> "Search":
    from training.fitting import Recipe
    from training.run import KEY_POINT_EPOCHS, Plan, input_spec
    from training.tuning.search import Search

    if kind is ModelKind.CLASSIFIER:
        from training.presets import preset

        name = given.get("preset", "standard")
        options = {option: one for option, one in given.items() if option != "preset"}
        base = preset(name).changed(**options, size=size)
        plan = Plan(kind, "", base.spec, base.recipe, seed, backbone=base.backbone, dropout=base.dropout)
        return Search(plan, epochs or 2 * plan.recipe.epochs, name)
    if given:
        raise InvalidArgument(
            f"--{next(iter(given))} is an option of class models: give --kind classifier.", reason="BAD_OPTION"
        )
    plan = Plan(kind, "", input_spec(size or _KEY_POINT_SIZE), Recipe(KEY_POINT_EPOCHS), seed)
    return Search(plan, epochs or 2 * plan.recipe.epochs)


def _command(*words: str, **options: Any) -> str:  # noqa: ANN401 - an option is of any type
    line = list(words)
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            line.append(f"--{option}" if value else f"--no-{option}")
        else:
            line += [f"--{option}", str(value)]
    return shlex.join(line)
