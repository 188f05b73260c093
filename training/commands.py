"""`canicor train`: fits models on a dataset manifest and pushes them."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from canicor import store
from canicor.bundle import BundleInfo, ModelKind, NumberFormat
from canicor.model_repository import ModelRepository
from canicor.settings import Settings
from canicor.vhs import HeartSize

if TYPE_CHECKING:
    from training import dataset

# A vertebra then spans about 7 pixels.
_SIZE = 192

app = typer.Typer(help="Train, evaluate, export and push models.", no_args_is_help=True)


class Kinds(StrEnum):
    """Which models to train."""

    KEYPOINTS = "keypoints"
    CLASSIFIER = "classifier"
    BOTH = "both"

    def models(self) -> list[ModelKind]:
        """Returns the kinds of models, in the order they are trained."""
        return [ModelKind.KEYPOINTS, ModelKind.CLASSIFIER] if self is Kinds.BOTH else [ModelKind(self.value)]


@app.command()
def fit(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST_FILE_OR_URL", help="A dataset manifest (Parquet).")],
    kind: Annotated[Kinds, typer.Option(help="Which models to train.")] = Kinds.BOTH,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images. [default: by kind]")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of splits, weights and augmentation.")] = 0,
    size: Annotated[int, typer.Option(help="Width of the models' input in pixels, a multiple of 32.")] = _SIZE,
    name_prefix: Annotated[str, typer.Option(help="Start of the models' names.")] = "vhs",
    number_format: Annotated[
        list[NumberFormat] | None,
        typer.Option(help="Also make the models in this format, and keep it if no worse."),
    ] = None,
    push: Annotated[bool, typer.Option(help="Push to the model repository, into production.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Train key-point and class models on a manifest, test, export and push them."""
    from canicor.manifest import read
    from training.run import Plan, train

    url = manifest if "://" in manifest else store.file_url(Path(manifest))
    plan = Plan(kind.models(), seed, size, epochs, name_prefix, number_format or ())
    repository = ModelRepository(Settings().models)
    # A bad name or a store that does not answer shows now, not after the training.
    for model_kind in plan.kinds:
        repository.versions(plan.name_of(model_kind))
    with _progress() as progress:
        candidates = train(read(store.read(url)), plan, progress)
    models = []
    for candidate in candidates:
        version = candidate.push(repository) if push else None
        models.append({"name": candidate.name, "version": version, **_summary(candidate.info)})
    if as_json:
        typer.echo(json.dumps({"seed": seed, "models": models}))
        return
    for model in models:
        _print_metrics(model)


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FOLDER_OR_FILE", help="Images with labels.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST_FILE", help="The manifest to write.")],
    leave_out_bad: Annotated[
        bool, typer.Option("--leave-out-bad", help="Write the manifest without what is wrong.")
    ] = False,
) -> None:
    """Make a manifest of labelled images as DogHeart, CCK, CSV or COCO have them.

    Images stay where they are; those without a label are left out.
    """
    from canicor.manifest import write
    from training import layouts
    from training.checks import refuse

    with _progress() as progress:
        found = layouts.read(source, partial(progress, "Reading images"))
    console = Console(stderr=True)
    if not leave_out_bad:
        refuse(found.problems)
    for problem in found.problems:
        console.print(f"Left out: {problem}", soft_wrap=True, markup=False)
    refuse([] if found.rows else [f"{source}: no image has a label"])
    manifest.write_bytes(write(found.rows))
    counts = Counter((row.split, row.heart_size) for row in found.rows)
    table = Table("split", *HeartSize, title=f"{len(found.rows)} images, {found.unlabelled} more without a label")
    for split in dict.fromkeys(split for split, _ in counts):
        table.add_row(split or "none yet", *(str(counts[split, size]) for size in HeartSize))
    Console().print(table)


@app.command()
def models() -> None:
    """List the models in the repository."""
    repository = ModelRepository(Settings().models)
    table = Table("model", "aliases", "trained on", "accuracy", "VHS error")
    for name in repository.names():
        aliases = repository.aliases(name).aliases
        for version in repository.versions(name):
            info = repository.read(name, version).info
            table.add_row(
                f"{name}/{version}",
                ", ".join(alias for alias, target in aliases.items() if target == version),
                ", ".join(info.training_origins),
                _figure(info, "accuracy"),
                _figure(info, "vhs_mae"),
            )
    Console().print(table)


@contextmanager
def _progress() -> Iterator["dataset.Progress"]:
    """Shows bars on stderr, one for each thing that is being done; stdout stays free for the answer."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def show(what: str, done: int, total: int) -> None:
            unfinished = [task.id for task in bars.tasks if not task.finished]
            bar = unfinished[-1] if unfinished else bars.add_task(what)
            bars.update(bar, description=what, completed=done, total=total)

        yield show


def _summary(info: BundleInfo) -> dict[str, Any]:
    wanted = {"kind", "input", "training_run", "vhs_half_width", "metrics"}
    return info.model_dump(mode="json", include=wanted)


def _print_metrics(model: dict[str, Any]) -> None:
    table = Table("metric on test images", "value", "95 % interval", "images", title=f"{model['name']}")
    for name, metric in model["metrics"].items():
        interval = f"{metric['lower']:.3f} to {metric['upper']:.3f}"
        table.add_row(name, f"{metric['value']:.3f}", interval, str(metric["count"]))
    console = Console()
    console.print(table)
    console.print(f"version {model['version']}" if model["version"] else "not pushed")


def _figure(info: BundleInfo, name: str) -> str:
    metric = info.metrics.get(name)
    return f"{metric.value:.3f}" if metric else ""
