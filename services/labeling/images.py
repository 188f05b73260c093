"""Images of a project: adding them, finding them, their bytes."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from sqlalchemy import delete as sql_delete
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from canicor import radiograph, store
from canicor.errors import CanicorError, FailedPrecondition, NotFound
from canicor.labeling.v1 import labeling_pb2 as pb
from services.labeling import projects, queue
from services.labeling.burned_in import shows_text
from services.labeling.tables import LABELLED, Image, Label, Review, Task

# A decoded radiograph may take 256 MB (64 million pixels of float32), so only so many at once.
_DECODED_AT_ONCE = 4
_WRITTEN_AT_ONCE = 4


@dataclass(frozen=True)
class Added:
    """What an import did.

    Attributes:
        images: As the project holds them, in the order of the import.
        new: How many of them it did not hold before.
    """

    images: list[Image]
    new: int

    @property
    def known(self) -> int:
        """How many it held already."""
        return len(self.images) - self.new


@dataclass(frozen=True)
class Decoded:
    """An image that can be read and is still to be kept and added.

    Attributes:
        content: Its file, without what said who is on it.
        row: As the database has it.
        removed: What its file said of that.
        burned_in_warning: Why somebody should look at its pixels; empty where nothing shows.
    """

    content: bytes
    row: Image
    removed: Sequence[str]
    burned_in_warning: str


async def decoded(objects: store.Store, project: str, images: Sequence[pb.ImportImage]) -> list[Decoded]:
    """Reads images that are to be imported, and takes out of their files what says who is on them.

    Raises:
        InvalidArgument: An image can't be read; the error names the first such.
        ResourceExhausted: As above, for one of too many pixels.
    """
    return await asyncio.to_thread(_decoded, objects, project, images)


async def keep(objects: store.Store, images: Sequence[Decoded]) -> None:
    """Writes images to the store.

    Raises:
        Unavailable: The store can't be written.
    """
    await asyncio.to_thread(_keep, objects, images)


async def add(session: AsyncSession, project: str, images: Sequence[Image]) -> Added:
    """Adds the images that a project does not hold yet, by their SHA-256, in their order, each with its tasks."""
    of_project = await projects.found_or_made(session, project)
    wanted, rank = of_project.labels_per_image, queue.first_rank(of_project)
    query = select(Image).where(Image.project == project, Image.sha256.in_({image.sha256 for image in images}))
    held = {image.sha256: image for image in await session.scalars(query)}
    before = len(held)
    for image in images:
        held.setdefault(image.sha256, image)
    new = list(held.values())[before:]
    session.add_all(new)
    await session.flush()
    # All labels of an image are wanted before any of the next one, so that it can soon be learnt from.
    session.add_all(Task(project=project, image_id=image.id, rank=rank) for image in new for _ in range(wanted))
    await session.flush()
    return Added([held[image.sha256] for image in images], len(new))


async def find(session: AsyncSession, image_id: str) -> Image:
    """Returns an image.

    Raises:
        NotFound: There is none of this id.
    """
    image = await session.scalar(select(Image).where(Image.id == image_id))
    if image is None:
        raise NotFound("There is no image of this id.", reason="NO_SUCH_IMAGE", field="image_id")
    return image


async def delete(
    session: AsyncSession, objects: store.Store, project: str, ids: Sequence[str], subject_id: str
) -> int:
    """Deletes images of a project by their ids, and those of a subject where one is named.

    A file goes with the last image that has it, and before the transaction ends: what failed may be repeated.

    Returns:
        How many there were.

    Raises:
        Unavailable: The store does not answer.
    """
    of_subject = [Image.subject_id == subject_id] if subject_id else []
    asked = select(Image).where(Image.project == project, or_(Image.id.in_(ids), *of_subject))
    found = list(await session.scalars(asked))
    gone = [image.id for image in found]
    placed = select(Label.id).where(Label.image_id.in_(gone))
    for table, theirs in (
        (Review, Review.label_id.in_(placed)),
        (Label, Label.image_id.in_(gone)),
        (Task, Task.image_id.in_(gone)),
        (Image, Image.id.in_(gone)),
    ):
        await session.execute(sql_delete(table).where(theirs))
    # The generator's own files are not ours to delete.
    files = {image.url: image.sha256 for image in found if image.url == objects.url(_key(image.sha256))}
    kept = set(await session.scalars(select(Image.url).where(Image.url.in_(files))))
    for url in files.keys() - kept:
        await asyncio.to_thread(objects.delete, _key(files[url]))
    return len(found)


async def set_gold(session: AsyncSession, image_id: str, *, gold: bool) -> None:
    """Makes an image gold, or an ordinary one again.

    Raises:
        NotFound: There is none of this id.
        FailedPrecondition: NOT_LABELLED: it has no points that could be taken for right.
    """
    image = await find(session, image_id)
    if gold and image.state != LABELLED:
        raise FailedPrecondition(
            "Only a labelled image can be gold: its points are what labellers are checked by.",
            reason="NOT_LABELLED",
            field="image_id",
        )
    image.gold = gold


async def content(image: Image) -> bytes:
    """Returns an image's bytes.

    Raises:
        DataLoss: They are gone, or not the ones that were imported.
        Unavailable: The store does not answer.
    """
    return await asyncio.to_thread(store.read_checked, image.url, image.sha256)


def message(image: Image) -> pb.Image:
    """Returns an image as the API shows it."""
    return pb.Image(
        id=image.id,
        project=image.project,
        url=image.url,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        pixel_aspect=image.pixel_aspect,
        origin=image.origin,
        subject_id=image.subject_id,
        batch_id=image.batch_id,
        batch_index=image.batch_index,
        batch_seed=image.batch_seed,
    )


def deidentifications(images: Sequence[Decoded]) -> list[pb.Deidentification]:
    """Returns what is said of the images of which there is something to say."""
    return [
        pb.Deidentification(
            index=index, removed_attributes=image.removed, burned_in_warning=image.burned_in_warning
        )
        for index, image in enumerate(images)
        if image.removed or image.burned_in_warning
    ]


def _keep(objects: store.Store, images: Sequence[Decoded]) -> None:
    keys = [_key(image.row.sha256) for image in images]
    with ThreadPoolExecutor(_WRITTEN_AT_ONCE) as threads:
        list(threads.map(objects.put, keys, [image.content for image in images]))


def _decoded(objects: store.Store, project: str, images: Sequence[pb.ImportImage]) -> list[Decoded]:
    with ThreadPoolExecutor(_DECODED_AT_ONCE) as threads:
        return list(threads.map(partial(_read, objects, project), range(len(images)), images))


def _read(objects: store.Store, project: str, index: int, image: pb.ImportImage) -> Decoded:
    try:
        # As it came, for what is left out may say that it is no lateral thorax.
        picture = radiograph.decode(image.content)
        file = radiograph.deidentified(image.content)
    except CanicorError as error:
        error.message = f"images[{index}]: {error.message}"
        error.field = f"images[{index}].content"
        raise
    digest = hashlib.sha256(file.content).hexdigest()
    row, column = picture.pixel_aspect
    return Decoded(
        content=file.content,
        row=Image(
            project=project,
            url=objects.url(_key(digest)),
            sha256=digest,
            width=picture.width,
            height=picture.height,
            pixel_aspect=row / column,
            origin=image.origin or pb.ORIGIN_REAL,
            subject_id=image.subject_id or digest,
        ),
        removed=file.removed,
        burned_in_warning=_burned_in_warning(picture, file),
    )


def _burned_in_warning(picture: radiograph.Radiograph, file: radiograph.Deidentified) -> str:
    if file.states_burned_in:
        why = "The file states that its pixels hold what identifies (0028,0301)"
    elif shows_text(picture):
        why = "Its pixels seem to hold a line of text"
    else:
        return ""
    return f"{why}: where they tell who is on it, delete the image, and import it with that covered."


def _key(digest: str) -> str:
    return f"labeling/{digest[:2]}/{digest}"
