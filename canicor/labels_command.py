"""`canicor labels`: images and labels into a project of the labeling service, and labels out of it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from canicor import radiograph, store
from canicor.client import channel, translated
from canicor.errors import CanicorError, InvalidArgument, Unavailable
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.messages import key_points_message
from canicor.settings import ClientSettings

if TYPE_CHECKING:
    from canicor.layouts import Import
    from canicor.manifest import Row

app = typer.Typer(help="Import and export of labels.", no_args_is_help=True)

_Format = Literal["manifest", "coco", "csv", "label-studio", "yolo", "matlab"]

_SERVED = {
    "manifest": pb.EXPORT_FORMAT_MANIFEST,
    "coco": pb.EXPORT_FORMAT_COCO,
    "csv": pb.EXPORT_FORMAT_CSV,
    "label-studio": pb.EXPORT_FORMAT_LABEL_STUDIO,
}
"""Formats that the service writes itself; the others hold copies of the images."""

# Well below the 64 MiB and 1000 images that the service takes at once; a larger image goes alone.
_MOST_BYTES = 16 * 2**20
_MOST_IMAGES = 200

# The service reads each image before it answers.
_DEADLINE = 600.0

_INDEX = re.compile(r"images\[(\d+)\]")


@dataclass(frozen=True)
class _Image:
    url: str
    message: pb.ImportImage


@app.command(name="import")
def import_(
    project: Annotated[str, typer.Argument(help="Made where there is none.")],
    source: Annotated[
        Path, typer.Argument(exists=True, help="A folder of images, with labels or without, or a file of labels.")
    ],
    labeller: Annotated[str, typer.Option(help="Who placed the labels, whatever they state.")] = "",
) -> None:
    """Add images to a project, with labels as CSV, COCO, Label Studio, YOLO pose or DogHeart have them.

    It may be repeated: what the project has already stays as it is. What can't be taken is told, and the rest goes
    in; then the exit status is 1. Of files only what a radiograph is measured by is kept. What is not is told,
    and so are images whose pixels seem to hold text.
    """
    from canicor import layouts

    with _bar("Reading images") as done:
        found = layouts.read(source, done)
    problems = list(found.problems)
    removed: dict[str, None] = {}
    total = pb.ImportImagesResponse()
    settings = ClientSettings()
    with channel(settings.labeling_address, settings) as connection, _bar("Sending images") as done:
        service = LabelingServiceStub(connection)
        for batch in _batches(_images(found, labeller, problems, done)):
            answer = _imported(service, project, batch)
            total.added_count += answer.added_count
            total.known_count += answer.known_count
            total.added_label_count += answer.added_label_count
            for one in answer.deidentifications:
                removed.update(dict.fromkeys(one.removed_attributes))
                if one.burned_in_warning:
                    _tell(
                        f"Look at {batch[one.index].url}, image {answer.image_ids[one.index]}: "
                        f"{one.burned_in_warning}"
                    )
    for problem in problems:
        _tell(f"Left out: {problem}")
    if removed:
        _tell(f"Not kept of files: {', '.join(removed)}.")
    if classes := sum(row.key_points is None for row in found.rows):
        typer.echo(f"With a class and no key points, so still to be labelled: {classes}.")
    typer.echo(
        f"Images: {total.added_count} new to {project}, {total.known_count} there already. "
        f"Labels: {total.added_label_count} new."
    )
    if problems:
        raise typer.Exit(1)


@app.command()
def delete(
    project: Annotated[str, typer.Argument(help="Of the labeling service.")],
    image_ids: Annotated[list[str] | None, typer.Argument(help="Images, by the service's ids.")] = None,
    subject: Annotated[str, typer.Option(help="A dog: all of its images.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete images of a project for good, with their files and labels."""
    what = f"all images of {subject}" if subject else f"{len(image_ids or [])} images"
    if not yes:
        typer.confirm(f"Delete {what} from {project}, with their labels?", abort=True)
    settings = ClientSettings()
    request = pb.DeleteImagesRequest(project=project, image_ids=image_ids or [], subject_id=subject)
    with channel(settings.labeling_address, settings) as connection, translated():
        answer = LabelingServiceStub(connection).DeleteImages(request, timeout=_DEADLINE)
    typer.echo(f"Images deleted: {answer.deleted_count}.")


@app.command()
def export(
    project: Annotated[str, typer.Argument(help="Of the labeling service.")],
    target: Annotated[
        Path, typer.Argument(metavar="FILE_OR_FOLDER", help="A folder, new or empty, for yolo and matlab.")
    ],
    layout: Annotated[_Format, typer.Option("--format", help="matlab is as DogHeart has it.")] = "manifest",
    reviewed_only: Annotated[
        bool, typer.Option("--reviewed-only", help="Only images whose labels a reviewer has seen.")
    ] = False,
) -> None:
    """Write the labelled images of a project as a dataset; the same labels give the same bytes."""
    from canicor import manifest
    from canicor.layouts import FolderLayout, write

    export_format = _SERVED.get(layout, pb.EXPORT_FORMAT_MANIFEST)
    content, digest, row_count = _exported(project, export_format, reviewed_only=reviewed_only)
    if layout in _SERVED:
        try:
            target.write_bytes(content)
        except OSError as error:
            raise InvalidArgument(f"{target} can't be written: {error.strerror}.", reason="FILE") from error
    else:
        with _bar("Copying images") as done:
            write(manifest.read(content), FolderLayout(layout), target, done)
    typer.echo(f"{row_count} rows, digest {digest}")


def _images(
    found: "Import", labeller: str, problems: list[str], done: Callable[[int, int], None]
) -> Iterator[_Image]:
    """Yields what is to be sent, and adds to the problems where an image without a label can't be read."""
    count = len(found.rows) + len(found.unlabelled)
    for number, row in enumerate(found.rows, 1):
        yield _Image(row.image_url, _labelled(row, labeller or row.labeller))
        done(number, count)
    for number, one in enumerate(found.unlabelled, len(found.rows) + 1):
        try:
            content = store.read(one.image_url)
            radiograph.decode(content)
        except Unavailable:
            raise
        except CanicorError as error:
            problems.append(f"{one.image_url}: {error.message}")
        else:
            message = pb.ImportImage(content=content, subject_id=one.subject_id, origin=_origin(one.origin))
            yield _Image(one.image_url, message)
        done(number, count)


def _labelled(row: "Row", labeller: str) -> pb.ImportImage:
    image = pb.ImportImage(
        content=store.read_checked(row.image_url, row.image_sha256),
        subject_id=row.subject_id,
        origin=_origin(row.origin),
    )
    if row.key_points is not None:
        image.label.CopyFrom(pb.ImportedLabel(key_points=key_points_message(row.key_points), labeller=labeller))
    return image


def _origin(origin: str) -> pb.Origin.ValueType:
    return pb.Origin.Value(f"ORIGIN_{origin.upper()}")


def _batches(images: Iterator[_Image]) -> Iterator[list[_Image]]:
    batch: list[_Image] = []
    size = 0
    for image in images:
        added = len(image.message.content)
        if batch and (size + added > _MOST_BYTES or len(batch) == _MOST_IMAGES):
            yield batch
            batch, size = [], 0
        batch.append(image)
        size += added
    if batch:
        yield batch


def _imported(service: LabelingServiceStub, project: str, batch: list[_Image]) -> pb.ImportImagesResponse:
    request = pb.ImportImagesRequest(project=project, images=[one.message for one in batch])
    try:
        with translated():
            return service.ImportImages(request, timeout=_DEADLINE)
    except InvalidArgument as error:
        # The place in a batch says nothing to who sent a folder.
        if place := _INDEX.match(error.field):
            error.message = f"{batch[int(place[1])].url}: {error.message}"
        raise


def _exported(
    project: str, export_format: pb.ExportFormat.ValueType, *, reviewed_only: bool
) -> tuple[bytes, str, int]:
    """Returns a dataset's file, its digest and how many rows it has."""
    settings = ClientSettings()
    request = pb.ExportDatasetRequest(project=project, reviewed_only=reviewed_only, format=export_format)
    with channel(settings.labeling_address, settings) as connection, translated():
        parts = list(LabelingServiceStub(connection).ExportDataset(request, timeout=_DEADLINE))
    return b"".join(part.chunk for part in parts), parts[-1].digest, parts[-1].row_count


def _tell(sentence: str) -> None:
    Console(stderr=True).print(sentence, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    with Progress(console=Console(stderr=True)) as shown:
        bar = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(bar, completed=done, total=total)
