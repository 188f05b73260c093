"""`canicor train`: fits models on a dataset manifest and pushes them."""

import json
from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from canicor import store
from canicor.bundle import Bundle, BundleInfo, ModelKind, NumberFormat
from canicor.errors import NotFound
from canicor.model_repository import Alias, ModelRepository
from canicor.settings import ClientSettings, Settings
from canicor.vhs import HeartSize
from training.experiments.commands import app as experiments
from training.generator.commands import base, generator
from training.progress import bars
from training.tuning.command import tune

if TYPE_CHECKING:
    from canicor.manifest import Row
    from training import run

app = typer.Typer(help="Train, evaluate, export and push models.", no_args_is_help=True)
app.add_typer(experiments, name="experiment")
app.command()(tune)
app.command()(base)
app.command()(generator)

_Manifest = Annotated[str, typer.Argument(metavar="MANIFEST_FILE_OR_URL", help="A dataset manifest (Parquet).")]
_Manifests = Annotated[
    list[str], typer.Argument(metavar="MANIFEST_FILE_OR_URL...", help="Dataset manifests (Parquet), as one.")
]
_Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the images.")]
_LearningRate = Annotated[float | None, typer.Option(min=1e-7, max=1.0, help="The highest.")]
_BatchSize = Annotated[int | None, typer.Option(min=4, help="Images a step.")]
_AugmentationStrength = Annotated[float | None, typer.Option(min=0.0, max=3.0, help="As a factor; 0 for none.")]
_Preset = Annotated[str, typer.Option(help="standard, smoke, notebook (the study's) or modern.")]
_Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of splits, weights and augmentation.")]
_SIZE_HELP = "Width of the model's input in pixels, a multiple of 32."
_NumberFormats = Annotated[
    list[NumberFormat] | None, typer.Option(help="Also make the model in this format, and keep it if no worse.")
]
_Push = Annotated[bool, typer.Option(help="Push into production where it beats what is there.")]
_Force = Annotated[str, typer.Option(metavar="REASON", help="Push whatever it is worth; kept in the bundle.")]
_Precision = Annotated[
    Literal["auto", "no", "bf16", "fp16"],
    typer.Option(
        help="16-bit floats where they do no harm; fp16 needs a GPU, auto is bf16 where it is the faster."
    ),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


@app.command()
def keypoints(
    manifests: _Manifests,
    epochs: _Epochs = None,
    learning_rate: _LearningRate = None,
    batch_size: _BatchSize = None,
    augmentation_strength: _AugmentationStrength = None,
    seed: _Seed = 0,
    model: Annotated[str, typer.Option(help="A backbone of the zoo; empty for the small one.")] = "",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Begin with ImageNet's weights.")] = False,
    # A vertebra then spans about 7 pixels.
    size: Annotated[int, typer.Option(help=_SIZE_HELP)] = 192,
    name: Annotated[str, typer.Option(help="The model's.")] = "vhs-keypoints",
    number_format: _NumberFormats = None,
    precision: _Precision = "no",
    push: _Push = True,
    force: _Force = "",
    as_json: _AsJson = False,
) -> None:
    """Train a key-point model on manifests, test, export and push it."""
    from training.fitting import Recipe
    from training.processes import precision_named
    from training.run import KEY_POINT_EPOCHS, Plan, input_spec
    from training.zoo import Backbone

    recipe = Recipe(KEY_POINT_EPOCHS, precision=precision_named(precision)).tuned(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        augmentation_strength=augmentation_strength,
    )
    backbone = Backbone(model, pretrained=pretrained) if model or pretrained else None
    plan = Plan(ModelKind.KEYPOINTS, name, input_spec(size), recipe, seed, number_format or (), backbone)
    _train(manifests, plan, push=push, force=force, as_json=as_json)


@app.command()
def classifier(
    manifests: _Manifests,
    preset: _Preset = "standard",
    model: Annotated[str | None, typer.Option(help="A backbone of the zoo; empty for the small one.")] = None,
    hidden_layers: Annotated[int | None, typer.Option(min=0, help="Before the last: the study had 7.")] = None,
    dropout: Annotated[
        float | None, typer.Option(min=0.0, max=0.9, help="Before the head; in the study 0.5.")
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option("--pretrained/--no-pretrained", help="Begin with ImageNet's weights, from the network."),
    ] = None,
    frozen: Annotated[
        bool | None,
        typer.Option("--frozen/--no-frozen", help="Train the last three stages alone, as the study did."),
    ] = None,
    stretch: Annotated[
        bool | None,
        typer.Option("--stretch/--no-stretch", help="To a square, as the study did, instead of padding."),
    ] = None,
    epochs: _Epochs = None,
    learning_rate: _LearningRate = None,
    batch_size: _BatchSize = None,
    augmentation_strength: _AugmentationStrength = None,
    seed: _Seed = 0,
    size: Annotated[int | None, typer.Option(help=_SIZE_HELP)] = None,
    name: Annotated[str, typer.Option(help="The model's.")] = "vhs-classifier",
    number_format: _NumberFormats = None,
    precision: _Precision = "no",
    push: _Push = True,
    force: _Force = "",
    as_json: _AsJson = False,
) -> None:
    """Train a class model on manifests, test, export and push it.

    What isn't given is as the preset has it.
    """
    from training import presets
    from training.processes import precision_named
    from training.run import Plan

    chosen = presets.preset(preset).changed(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        augmentation_strength=augmentation_strength,
        model=model,
        hidden_layers=hidden_layers,
        dropout=dropout,
        pretrained=pretrained,
        frozen=frozen,
        size=size,
        stretch=stretch,
    )
    plan = Plan(
        ModelKind.CLASSIFIER,
        name,
        chosen.spec,
        replace(chosen.recipe, precision=precision_named(precision)),
        seed,
        number_format or (),
        chosen.backbone,
        chosen.dropout,
    )
    _train(manifests, plan, push=push, force=force, as_json=as_json)


def _train(manifests: list[str], plan: "run.Plan", *, push: bool, force: str, as_json: bool) -> None:
    from canicor.manifest import read
    from training import release
    from training.lineage import Lineage
    from training.run import train
    from training.settings import TrainingSettings

    settings = TrainingSettings()
    plan = replace(plan, checkpoints=settings.training_folder, tracking=settings.tracking)
    repository, lineage = ModelRepository.of(settings), Lineage(settings.image_store, plan.name)
    # A bad name or a store that does not answer shows now, not after the training.
    repository.versions(plan.name)
    with bars() as progress:
        rows = [row for one in manifests for row in read(store.read(store.url_of(one)))]
        candidate = train(rows, plan, progress)
        try:
            version = release.push(candidate, repository, lineage, progress, reason=force) if push else None
        except release.NotBetter as refusal:
            advice = "Give the same command with --force REASON to push it all the same: it is not trained again."
            raise release.NotBetter(f"{refusal.message}\n{advice}", reason=refusal.reason) from refusal
    told = {"name": plan.name, "version": version, "seed": plan.seed, **_summary(candidate.info)}
    if as_json:
        typer.echo(json.dumps(told))
    else:
        _print_metrics(told)


@app.command()
def retrain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    project: Annotated[str, typer.Option(help="Of the labelling service, whose reviewed labels count.")],
    base: Annotated[str, typer.Option(metavar="FILE_OR_URL", help="A manifest of further labels.")] = "",
    new_labels: Annotated[int, typer.Option(min=1, help="With fewer since the last time, nothing is done.")] = 100,
) -> None:
    """Train a model again on new labels, as it was before; what beats production becomes the candidate.

    For a schedule. Nothing goes into production by itself: `canicor train promote` puts it there.
    """
    from canicor.manifest import read
    from training.retraining import retrain, reviewed
    from training.settings import TrainingSettings

    others = read(store.read(store.url_of(base))) if base else []
    labelled = reviewed(project, ClientSettings())
    with bars() as progress:
        done = retrain(name, others, labelled, new_labels, TrainingSettings(), progress)
    if done.version:
        typer.echo(
            f"{name}/{done.version} beats production and is the candidate: "
            f"`canicor train promote {name} {done.version}` puts it into production."
        )
    elif done.refusal:
        typer.echo(done.refusal)
    else:
        typer.echo(f"{name} stays as it is: {done.new_labels} new labels, fewer than {new_labels}.")


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FOLDER_OR_FILE", help="Images with labels.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST_FILE", help="The manifest to write.")],
    leave_out_bad: Annotated[
        bool, typer.Option("--leave-out-bad", help="Write the manifest without what is wrong.")
    ] = False,
) -> None:
    """Make a manifest of labelled images as DogHeart, CCK, CSV, COCO, Label Studio or YOLO have them.

    Images stay where they are; those without a label are left out.
    """
    from canicor import layouts
    from canicor.manifest import write
    from training.checks import refuse

    with bars() as progress:
        found = layouts.read(source, partial(progress, "Reading images"))
    console = Console(stderr=True)
    if not leave_out_bad:
        refuse(found.problems)
    for problem in found.problems:
        console.print(f"Left out: {problem}", soft_wrap=True, markup=False)
    refuse([] if found.rows else [f"{source}: no image has a label"])
    manifest.write_bytes(write(found.rows))
    counts = Counter((row.split, row.heart_size) for row in found.rows)
    title = f"{len(found.rows)} images, {len(found.unlabelled)} more without a label"
    table = Table("split", *HeartSize, title=title)
    for split in dict.fromkeys(split for split, _ in counts):
        table.add_row(split or "none yet", *(str(counts[split, size]) for size in HeartSize))
    Console().print(table)


@app.command()
def pseudo_label(
    model: Annotated[str, typer.Argument(metavar="NAME[/VERSION]", help="By default its production version.")],
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Radiographs, in folders or not.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST_FILE", help="The manifest to write.")],
    agreement: Annotated[
        float, typer.Option(min=0.0, help="Largest deviation over a radiograph's passes, in vertebrae.")
    ] = 0.3,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of how radiographs are changed.")] = 0,
) -> None:
    """Label radiographs by a key-point model where it agrees with itself, to train on beside other manifests.

    No person sees what it labels, so that is for training alone. A later model's labels replace these.
    """
    from canicor.manifest import write
    from training.checks import refuse
    from training.dataset import counting
    from training.pseudo_labels import pseudo_label

    files = sorted(file for file in folder.rglob("*") if file.is_file())
    bundle = _bundle(ModelRepository.of(Settings()), model)
    with bars() as progress:
        found = pseudo_label(bundle, files, agreement, seed, counting(progress, "Labelling", len(files)))
    console = Console(stderr=True)
    for line in found.left_out:
        console.print(f"Left out: {line}", soft_wrap=True, markup=False)
    nothing = f"{folder}: the model agrees with itself on no image: give a larger --agreement or another model"
    refuse([] if found.rows else [nothing])
    manifest.write_bytes(write(found.rows))
    typer.echo(f"{len(found.rows)} of {len(files)} files labelled by {bundle.name}/{bundle.version}")


@app.command()
def compare(
    model: Annotated[str, typer.Argument(metavar="NAME[/VERSION]", help="By default its production version.")],
    other: Annotated[str, typer.Argument(metavar="NAME[/VERSION]", help="The one that it is held to.")],
    manifest: _Manifest,
    as_json: _AsJson = False,
) -> None:
    """Hold a model to another on the same images: those marked test, or all of a manifest without splits."""
    from canicor.manifest import digest
    from training.comparison import Answers, compare
    from training.dataset import Images, counting

    rows = _test_rows(manifest)
    repository = ModelRepository.of(Settings())
    bundles = [_bundle(repository, name) for name in (model, other)]
    answers = []
    with bars() as progress:
        for bundle in bundles:
            loaded = counting(progress, f"Asking {bundle.name}/{bundle.version}", len(rows))
            images = Images.load(rows, bundle.info.input, loaded)
            answers.append(Answers.of(bundle.model, bundle.info.kind, images))
    found = compare(answers[0], answers[1], images)
    unseen = all(bundle.info.test_dataset_digest == digest(rows) for bundle in bundles)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "test_split_of_both": unseen}, default=BaseModel.model_dump))
        return
    table = Table("by how much it is better", "value", "95 % interval", "images", title=f"{model} held to {other}")
    figures = {"accuracy": found.accuracy} | {f"accuracy, {name}": one for name, one in found.of_class.items()}
    figures |= {"VHS error": found.vhs_mae} if found.vhs_mae else {}
    for name, one in figures.items():
        table.add_row(name, f"{one.value:+.3f}", f"{one.lower:+.3f} to {one.upper:+.3f}", str(one.count))
    console = Console()
    console.print(table)
    console.print(f"McNemar's exact test: p = {found.p:.3g}")
    if not unseen:
        console.print("These are not the test images of both: one may have been trained on some.")


@app.command()
def report(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="NAME[/VERSION]", help="By default its production version.")],
    manifest: _Manifest,
    folder: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("model-report"),
) -> None:
    """Write a report on a model: on the images marked test, or all of a manifest without splits."""
    from canicor.manifest import digest
    from training.dataset import Images, counting
    from training.experiments.model_report import about
    from training.experiments.provenance import command, made_by, notices
    from training.experiments.report import REPORT, write

    rows = _test_rows(manifest)
    bundle = _bundle(ModelRepository.of(Settings()), model)
    with bars() as progress:
        loaded = counting(progress, f"Asking {bundle.name}/{bundle.version}", len(rows))
        images = Images.load(rows, bundle.info.input, loaded)
    told = notices(rows)
    if bundle.info.test_dataset_digest != digest(rows):
        told.append("These are not the model's own test images: it may have been trained on some.")
    found = about(bundle, images, seed=0)
    write(folder, found, made_by(command(context), 0, {"test": rows}), told)
    typer.echo(found.conclusion)
    typer.echo(str(folder / REPORT))


def _test_rows(manifest: str) -> "list[Row]":
    from canicor.manifest import read
    from training.checks import refuse

    rows = read(store.read(store.url_of(manifest)))
    rows = [row for row in rows if row.split == "test"] or [row for row in rows if not row.split]
    refuse([] if rows else ["no image is marked test: give a manifest with a test split, or one without splits"])
    return rows


def _bundle(repository: ModelRepository, reference: str) -> Bundle:
    name, _, version = reference.partition("/")
    version = version or repository.aliases(name).aliases.get(Alias.PRODUCTION, "")
    if not version:
        raise NotFound(f"Model {name!r} has no production version: name one.", reason="NO_VERSION", field="model")
    return repository.read(name, version)


@app.command()
def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="What is to answer from now on.")],
) -> None:
    """Put a version into production; classifiers take it up within seconds."""
    ModelRepository.of(Settings()).set_alias(name, Alias.PRODUCTION, version)
    typer.echo(f"{name}/{version} is in production.")


@app.command()
def rollback(name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")]) -> None:
    """Put the version back into production that was there before."""
    version = ModelRepository.of(Settings()).roll_back(name)
    typer.echo(f"{name}/{version} is in production again.")


@app.command(name="list")
def list_() -> None:
    """List the models in the repository."""
    repository = ModelRepository.of(Settings())
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
