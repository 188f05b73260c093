"""`canicor train experiment`: the study's experiments, each a command that writes a report."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from canicor import store
from canicor.errors import InvalidArgument
from canicor.model_repository import ModelRepository
from canicor.settings import Settings
from training.progress import bars
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from canicor.manifest import Row
    from training.dataset import Progress
    from training.experiments.conditions import Conditions
    from training.experiments.report import Report
    from training.presets import Preset

app = typer.Typer(help="Repeat the study's experiments, each with a report.", no_args_is_help=True)

_Manifest = Annotated[str, typer.Argument(metavar="MANIFEST_FILE_OR_URL", help="A dataset manifest (Parquet).")]
_Folder = Annotated[Path | None, typer.Option(help="Where the report goes. [default: named after the command]")]
_Preset = Annotated[str, typer.Option(help="standard, smoke, notebook (the study's) or modern.")]
_Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of splits, folds, weights and augmentation.")]
_Folds = Annotated[int, typer.Option(min=0, help="Of cross-validation, in the study 7; 0 for none.")]
_Model = Annotated[str | None, typer.Option(help="A backbone of the zoo; else as the preset has it.")]
_Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the images; else as the preset has it.")]
_Size = Annotated[int | None, typer.Option(help="Width of the input in pixels; else as the preset has it.")]
_Pretrained = Annotated[
    bool | None,
    typer.Option("--pretrained/--no-pretrained", help="Begin with ImageNet's weights; else as the preset has it."),
]


@app.command()
def zoo(
    context: typer.Context,
    manifest: _Manifest,
    model: Annotated[
        list[str] | None, typer.Option(help="A row of Table 3; may be repeated. [default: all]")
    ] = None,
    preset: _Preset = "standard",
    seed: _Seed = 0,
    folds: _Folds = 7,
    epochs: _Epochs = None,
    size: _Size = None,
    pretrained: _Pretrained = None,
    push: Annotated[bool, typer.Option("--push", help="Keep each model as zoo-NAME, under no alias.")] = False,
    folder: _Folder = None,
) -> None:
    """Table 3: sixteen networks, cross-validated and tested."""
    from training.experiments.zoo import checked, zoo

    names = checked(model or [])
    rows = _rows(manifest)
    chosen = _preset(preset, epochs=epochs, size=size, pretrained=pretrained)
    with bars() as progress:
        # Which rows are asked for doesn't change them.
        conditions = _conditions("zoo", (_digest(rows), push), chosen, seed, folds, progress)
        report, _ = zoo(rows, conditions, names, ModelRepository.of(Settings()) if push else None)
    _write(context, folder, report, conditions, {"manifest": rows}, rows)


@app.command()
def table4(
    context: typer.Context,
    manifest: _Manifest,
    model: _Model = "tf_efficientnet_b7",
    preset: _Preset = "standard",
    seed: _Seed = 0,
    folds: _Folds = 7,
    epochs: _Epochs = None,
    size: _Size = None,
    pretrained: _Pretrained = None,
    folder: _Folder = None,
) -> None:
    """Table 4: EfficientNetB7 with the study's head, without and with generated images."""
    from training.experiments.mixing import by_origin, load, table_4
    from training.zoo import STUDY_HIDDEN_LAYERS

    real, added = by_origin(_rows(manifest))
    chosen = _preset(
        preset, model=model, hidden_layers=STUDY_HIDDEN_LAYERS, epochs=epochs, size=size, pretrained=pretrained
    )
    with bars() as progress:
        conditions = _conditions("table4", (_digest(real), _digest(added)), chosen, seed, folds, progress)
        report = table_4(load(real, added, conditions), conditions)
    _write(context, folder, report, conditions, {"real": real, "generated": added}, real)


@app.command(name="generated-vs-real")
def generated_vs_real(
    context: typer.Context,
    manifest: Annotated[
        str | None, typer.Argument(metavar="[MANIFEST_FILE_OR_URL]", help="With real and generated images.")
    ] = None,
    clinic: Annotated[
        bool, typer.Option("--clinic", help="Draw phantoms of a small clinic and of the generator instead.")
    ] = False,
    dogs: Annotated[int, typer.Option(min=20, help="Of the clinic.")] = 200,
    per_real: Annotated[
        list[int] | None, typer.Option(min=1, help="Generated images per real one. [default: 1, 2 and 5]")
    ] = None,
    model: _Model = None,
    preset: _Preset = "standard",
    seed: _Seed = 0,
    folds: _Folds = 7,
    epochs: _Epochs = None,
    size: _Size = None,
    pretrained: _Pretrained = None,
    folder: _Folder = None,
) -> None:
    """What generated images add: mixed in, and learnt from before the real ones."""
    from training.experiments import clinic as clinics
    from training.experiments.mixing import PER_REAL, by_origin, generated_vs_real, load

    if bool(manifest) == clinic:
        raise InvalidArgument("Give a manifest or --clinic, one of the two.", reason="MANIFEST_OR_CLINIC")
    counts = sorted(set(per_real or PER_REAL))
    chosen = _preset(preset, model=model, epochs=epochs, size=size, pretrained=pretrained)
    with bars() as progress:
        kind, note = "real", ""
        if manifest:
            real, added = by_origin(_rows(manifest))
        else:
            kind, note = clinics.KIND, clinics.NOTE
            drawn = TrainingSettings().training_folder / "experiments" / f"clinic-{seed}-{dogs}-{max(counts)}"
            real, added = clinics.draw(drawn, dogs, max(counts), seed, progress)
        made_of = (_digest(real), _digest(added), counts)
        conditions = _conditions("generated-vs-real", made_of, chosen, seed, folds, progress)
        report = generated_vs_real(load(real, added, conditions, kind, note), conditions, counts)
    _write(context, folder, report, conditions, {kind: real, "generated": added}, real)


@app.command()
def leak(
    context: typer.Context,
    manifest: _Manifest,
    model: _Model = None,
    preset: _Preset = "standard",
    seed: _Seed = 0,
    folds: Annotated[int, typer.Option(min=2, help="Of cross-validation, in the study 7.")] = 7,
    epochs: Annotated[int, typer.Option(min=1, help="A fold: enough to learn by heart.")] = 20,
    size: _Size = None,
    pretrained: _Pretrained = None,
    folder: _Folder = None,
) -> None:
    """Labels that mean nothing, validated as they should be and as the study's notebook did."""
    from dataclasses import replace

    from training.experiments import leak as leaks

    rows = _rows(manifest)
    chosen = _preset(preset, model=model, size=size, pretrained=pretrained)
    chosen = replace(chosen, recipe=leaks.by_heart(chosen.recipe, epochs))
    with bars() as progress:
        conditions = _conditions("leak", _digest(rows), chosen, seed, folds, progress)
        report = leaks.leak(leaks.load(rows, conditions), conditions)
    _write(context, folder, report, conditions, {"manifest": rows}, rows)


def _rows(manifest: str) -> "list[Row]":
    from canicor.manifest import read

    return read(store.read(store.url_of(manifest)))


def _digest(rows: "Sequence[Row]") -> str:
    from canicor.manifest import digest

    return digest(rows)


def _preset(name: str, *, epochs: int | None = None, **options: str | float | None) -> "Preset":
    from training.presets import preset

    return preset(name).changed(epochs=epochs, **options)


def _conditions(
    name: str, made_of: object, preset: "Preset", seed: int, folds: int, progress: "Progress"
) -> "Conditions":
    """Returns the conditions, with the journal of this very experiment: the same command goes on with it."""
    import torch

    from training.experiments.conditions import Conditions
    from training.journal import Journal

    identity = repr((made_of, preset, seed, folds, torch.__version__))
    folder = TrainingSettings().training_folder / "experiments"
    journal = Journal(folder / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}")
    return Conditions(preset, seed, folds, progress, journal)


def _write(
    context: typer.Context,
    folder: Path | None,
    report: "Report",
    conditions: "Conditions",
    datasets: "Mapping[str, Sequence[Row]]",
    judged_on: "Sequence[Row]",
) -> None:
    from training.experiments.provenance import command, made_by, notices
    from training.experiments.report import REPORT, write

    target = folder or Path(f"{context.command.name}-report")
    told = made_by(command(context), conditions.seed, datasets)
    told |= {"folds": conditions.folds, "preset": asdict(conditions.preset)}
    write(target, report, told, notices(judged_on))
    typer.echo(report.conclusion)
    typer.echo(str(target / REPORT))
