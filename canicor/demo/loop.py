"""The loop: generate, label, train, push, serve, classify; each step through the API or command a user has."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from canicor.classifier.v1 import classifier_pb2, model_admin_pb2
from canicor.classify import Outcome, classify_files, show
from canicor.client import translated
from canicor.demo import figures, labeller
from canicor.demo.report import Specimen, write_report
from canicor.demo.services import Services, connected, started
from canicor.errors import FailedPrecondition, NotFound
from canicor.generator.v1 import generator_pb2
from canicor.labeling.v1 import labeling_pb2
from canicor.messages import heart_size_message, key_points_from
from canicor.settings import ClientSettings
from canicor.vhs import HEART_SIZES, measure

TRAINING_IMAGES = 1200
HELD_OUT_IMAGES = 200
MODEL = "vhs-keypoints"

# A quarter of a clinic's radiograph: small enough to make 1,200 in a minute or two.
_WIDTH, _HEIGHT = 400, 312
_PAGE = 1000
_PICTURES = 12


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        images: Phantoms to label and learn from.
        held_out: Phantoms, from another seed, to be tested on.
        epochs: Passes over the images; None for the training command's own default.
        seed: Of everything that is drawn.
    """

    images: int = TRAINING_IMAGES
    held_out: int = HELD_OUT_IMAGES
    epochs: int | None = None
    seed: int = 0

    @property
    def project(self) -> str:
        """The labelling project: one for each set of images, so that a demo run again finds its labels."""
        return f"demo-{self.seed}-{self.images}"


@dataclass(frozen=True)
class HeldOut:
    """How the model did on phantoms that it has never seen, against their exact points."""

    specimens: list[Specimen]
    accuracy: figures.Figure
    vhs_error: figures.Figure
    requests_per_second: float


def run(files: list[Path], plan: Plan, *, keep_serving: bool = False, running: bool = False) -> None:
    """Runs the loop, prints what came of it, and writes `report.html` into the home's `demo` folder.

    Args:
        files: Radiographs of the user's own, classified at the end.
        plan: How much of everything.
        keep_serving: Leave the services running until Ctrl-C.
        running: The services run already, where the settings say, and share the settings' stores.

    Raises:
        CanicorError: A step failed; the sentence says which and where more is said.
    """
    for file in files:
        if not file.is_file():
            raise NotFound(f"There is no file {str(file)!r}.", reason="FILE")
    settings = ClientSettings()
    folder = settings.home_folder / "demo"
    console = Console()
    folder.mkdir(parents=True, exist_ok=True)
    servers = nullcontext() if running else started(settings, folder / "services.log")
    with servers, connected(settings) as services, translated():
        with _progress(console) as progress:
            batch = _generate(services, plan.images, plan.seed, progress, "Generating phantoms")
            _label(services, batch, plan, progress)
            manifest = _export(services, plan.project, folder)
        version = _train(manifest, plan)
        _serve(services, version)
        with _progress(console) as progress:
            tests = _generate(services, plan.held_out, plan.seed + 1, progress, "Generating held-out phantoms")
            held_out = _test(services, tests, progress)
        outcomes = list(classify_files(services.classifier, files))
        report = write_report(folder / "report.html", held_out.specimens[:_PICTURES], _rows(held_out), outcomes)
        _print(console, held_out, outcomes, report)
        if keep_serving:
            console.print("The services are running; Ctrl-C stops them.")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _generate(services: Services, count: int, seed: int, progress: Progress, what: str) -> str:
    """Has a batch made, a third of each class, and returns its id. The same batch is not made twice."""
    shares = [count // 3 + (index < count % 3) for index in range(3)]
    request = generator_pb2.CreateBatchRequest(
        request_id=f"demo-{seed}-{count}",
        display_name=what,
        seed=seed,
        portions=[
            generator_pb2.Portion(count=share, heart_size=heart_size_message(size))
            for share, size in zip(shares, HEART_SIZES, strict=True)
        ],
        options=generator_pb2.GenerationOptions(backend="phantom", width=_WIDTH, height=_HEIGHT),
    )
    batch = services.generator.CreateBatch(request).batch
    bar = progress.add_task(what, total=count)
    for update in services.generator.WatchBatch(generator_pb2.WatchBatchRequest(batch_id=batch.id)):
        batch = update.batch
        progress.update(bar, completed=batch.completed_count)
    if batch.state != generator_pb2.BATCH_STATE_SUCCEEDED:
        raise FailedPrecondition(f"The batch of phantoms ended early: {batch.error or 'it was cancelled'}.")
    return batch.id


def _images(services: Services, batch_id: str) -> Iterator[generator_pb2.Image]:
    token = ""
    while True:
        request = generator_pb2.ListImagesRequest(batch_id=batch_id, page_size=_PAGE, page_token=token)
        page = services.generator.ListImages(request)
        yield from page.images
        token = page.next_page_token
        if not token:
            return


def _label(services: Services, batch_id: str, plan: Plan, progress: Progress) -> None:
    """Labels every image of the batch that has no label yet."""
    truth = {image.index: key_points_from(image.key_points) for image in _images(services, batch_id)}
    project = plan.project
    services.labeling.ImportBatch(labeling_pb2.ImportBatchRequest(project=project, batch_id=batch_id))
    rng = np.random.default_rng(plan.seed)
    bar = progress.add_task("Labelling", total=len(truth))
    for task in _tasks(services, project):
        labeller.label(services.labeling, task, truth[task.image.batch_index], rng)
        progress.advance(bar)
    progress.update(bar, completed=len(truth))


def _tasks(services: Services, project: str) -> Iterator[labeling_pb2.Task]:
    while True:
        try:
            with translated():
                task = services.labeling.LeaseTask(labeling_pb2.LeaseTaskRequest(project=project)).task
        except NotFound:
            return
        yield task


def _export(services: Services, project: str, folder: Path) -> Path:
    manifest = folder / "manifest.parquet"
    parts = services.labeling.ExportDataset(labeling_pb2.ExportDatasetRequest(project=project))
    manifest.write_bytes(b"".join(part.chunk for part in parts))
    return manifest


def _train(manifest: Path, plan: Plan) -> str:
    """Runs `canicor train` for both kinds of models and returns the key-point model's new version."""
    versions = {}
    for kind in ("keypoints", "classifier"):
        command = [sys.executable, "-m", "canicor.cli", "train", kind, str(manifest), "--force", "demo", "--json"]
        command += ["--seed", str(plan.seed), "--precision", "auto"]
        command += ["--epochs", str(plan.epochs)] if plan.epochs else []
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise FailedPrecondition("Training failed; what it said stands above.", reason="TRAINING_FAILED")
        model = json.loads(done.stdout)
        versions[model["name"]] = model["version"]
    return str(versions[MODEL])


def _serve(services: Services, version: str) -> None:
    """Has the classifier take up the new version now, rather than at its next look at the repository."""
    reference = classifier_pb2.ModelReference(name=MODEL, version=version)
    services.admin.SetAlias(model_admin_pb2.SetAliasRequest(model=reference, alias="production"))


def _test(services: Services, batch_id: str, progress: Progress) -> HeldOut:
    images = list(_images(services, batch_id))
    request = generator_pb2.GetImageRequest
    contents = [services.generator.GetImage(request(batch_id=batch_id, index=one.index)).content for one in images]
    bar = progress.add_task("Classifying held-out phantoms", total=len(images))
    requests = (
        classifier_pb2.ClassifyRequest(image=content, request_id=str(index))
        for index, content in enumerate(contents)
    )
    answers = {}
    begun = time.perf_counter()
    for answer in services.classifier.classify_many(requests):
        answers[int(answer.request_id)] = answer.response
        progress.advance(bar)
    seconds = time.perf_counter() - begun
    specimens = [
        Specimen(content, key_points_from(image.key_points), answers[index])
        for index, (image, content) in enumerate(zip(images, contents, strict=True))
    ]
    return _held_out(specimens, len(images) / seconds)


def _held_out(specimens: list[Specimen], requests_per_second: float) -> HeldOut:
    right = sum(one.answer.heart_size == heart_size_message(measure(one.truth).heart_size) for one in specimens)
    errors = [abs(one.answer.vhs.value - measure(one.truth).vhs) for one in specimens]
    rng = np.random.default_rng(0)
    shuffled = [specimens[index] for index in rng.permutation(len(specimens))]
    return HeldOut(shuffled, figures.share(right, len(specimens)), figures.mean(errors), requests_per_second)


def _rows(held_out: HeldOut) -> list[tuple[str, str]]:
    accuracy, error = held_out.accuracy, held_out.vhs_error
    return [
        ("Held-out phantoms", str(len(held_out.specimens))),
        ("Class accuracy (95 % interval)", f"{accuracy.value:.1%} ({accuracy.lower:.1%} to {accuracy.upper:.1%})"),
        (
            "Mean absolute VHS error (95 % interval)",
            f"{error.value:.3f} ({error.lower:.3f} to {error.upper:.3f}) vertebrae",
        ),
        ("Requests a second", f"{held_out.requests_per_second:.0f}"),
    ]


def _print(console: Console, held_out: HeldOut, outcomes: list[Outcome], report: Path) -> None:
    figures_table = Table("Measured on phantoms, against their exact key points", "")
    for name, value in _rows(held_out):
        figures_table.add_row(name, value)
    console.print(figures_table)
    if outcomes:
        show(outcomes, console)
    else:
        for notice in held_out.specimens[0].answer.notices:
            console.print(notice, highlight=False)
    console.print(f"Report: {report.as_uri()}", soft_wrap=True)
    console.print("Next: `canicor serve classifier`, then `canicor classify FILE`.", highlight=False)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
