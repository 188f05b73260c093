"""How far people agree who labelled the same images."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from operator import attrgetter, itemgetter

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from canicor.agreement import intraclass_correlation, kappa, limits_of_agreement
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import heart_size_from
from canicor.vhs import HEART_SIZES, VERTEBRAE_SPANNED
from services.labeling.consensus import Consensus, consensus
from services.labeling.labels import standing
from services.labeling.tables import Image, Label

MOST_IMAGES = 100
"""On which labels differ most, in an answer."""

MOST_MEASUREMENTS = 1000
"""Of a pair of labellers, in an answer."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What one labeller reads from an image.

    Attributes:
        xy: [6, 2] key points in square pixels.
        vhs: In vertebrae.
        heart_size: Index into `HEART_SIZES`.
    """

    xy: NDArray[np.float64]
    vhs: float
    heart_size: int

    @property
    def vertebra(self) -> float:
        """Length of a vertebra, in square pixels."""
        return float(np.linalg.norm(self.xy[5] - self.xy[4])) / VERTEBRAE_SPANNED


@dataclass(frozen=True, eq=False)
class Placed:
    """A label as it was placed.

    Attributes:
        image_id: Of which image.
        labeller: By whom.
        reading: None where he rejected the image.
    """

    image_id: str
    labeller: str
    reading: Reading | None


async def placed(session: AsyncSession, project: str) -> list[Placed]:
    """Returns the labels of a project as they were placed, image by image.

    Those that were sent back, and a reviewer's who saw the others, are left out.
    """
    query = standing(project).where(Label.adjudication.is_(False))
    return [_placed(image, label) for image, label, _ in await session.execute(query)]


async def checked(session: AsyncSession, project: str) -> list[tuple[Placed, Placed]]:
    """Returns each label on a gold image, behind what is taken for right there."""
    right = {
        image.id: _right(image, consensus(image, [(label, review) for _, label, review in group]))
        for image, group in groupby(await session.execute(standing(project).where(Image.gold)), key=itemgetter(0))
    }
    query = (
        select(Image, Label).join(Label, Label.image_id == Image.id).where(Image.project == project, Label.check)
    )
    found = await session.execute(query.order_by(Label.position))
    return [(right[image.id], _placed(image, label)) for image, label in found if image.id in right]


def agreement(labels: Iterable[Placed], labeller: str | None = None) -> pb.GetAgreementResponse:
    """Returns how far labellers agree.

    Args:
        labels: Those of an image in a row.
        labeller: Whose pairs and images are wanted; None for everybody's.
    """
    pairs: defaultdict[tuple[str, str], list[tuple[Placed, Placed]]] = defaultdict(list)
    images = []
    for image_id, group in groupby(labels, key=attrgetter("image_id")):
        of_image = sorted(group, key=attrgetter("labeller"))
        both = [
            (one, other)
            for one, other in combinations(of_image, 2)
            if labeller is None or labeller in (one.labeller, other.labeller)
        ]
        for one, other in both:
            pairs[one.labeller, other.labeller].append((one, other))
        if read := _read_by_both(both):
            images.append(_image(image_id, read))
    images.sort(key=lambda image: (-image.vhs_difference, image.image_id))
    return pb.GetAgreementResponse(
        pairs=[_pair(*names, labels) for names, labels in sorted(pairs.items())], images=images[:MOST_IMAGES]
    )


def against_gold(labels: Iterable[tuple[Placed, Placed]]) -> list[pb.PairAgreement]:
    """Returns how far each labeller agrees with the gold images, by name."""
    by_labeller: defaultdict[str, list[tuple[Placed, Placed]]] = defaultdict(list)
    for one in labels:
        by_labeller[one[1].labeller].append(one)
    return [_pair("", name, labels) for name, labels in sorted(by_labeller.items())]


def _right(image: Image, said: Consensus) -> Placed:
    xy = said.key_points.xy * (1.0, image.pixel_aspect)
    heart_size = HEART_SIZES.index(said.measured.heart_size)
    return Placed(image.id, "", Reading(xy, said.measured.vhs, heart_size))


def _placed(image: Image, label: Label) -> Placed:
    if label.key_points is None:
        return Placed(image.id, label.labeller, None)
    xy = np.array(label.key_points) * (1.0, image.pixel_aspect)
    heart_size = HEART_SIZES.index(heart_size_from(label.heart_size))
    return Placed(image.id, label.labeller, Reading(xy, label.vhs, heart_size))


def _read_by_both(labels: Sequence[tuple[Placed, Placed]]) -> list[tuple[Reading, Reading]]:
    return [(one.reading, other.reading) for one, other in labels if one.reading and other.reading]


def _pair(first: str, second: str, labels: Sequence[tuple[Placed, Placed]]) -> pb.PairAgreement:
    read = _read_by_both(labels)
    rejects = sum((one.reading is None) != (other.reading is None) for one, other in labels)
    found = pb.PairAgreement(first=first, second=second, image_count=len(read), reject_count=rejects)
    if not read:
        return found
    vhs = np.array([(one.vhs, other.vhs) for one, other in read])
    shown = vhs[:: -(-len(vhs) // MOST_MEASUREMENTS)]
    found.measurements.extend(pb.PairedMeasurement(first=one, second=other) for one, other in shown)
    limits = limits_of_agreement(vhs[:, 1] - vhs[:, 0])
    if limits.count > 1:
        found.vhs.CopyFrom(pb.LimitsOfAgreement(bias=limits.bias, lower=limits.lower, upper=limits.upper))
    confusion = np.zeros((len(HEART_SIZES), len(HEART_SIZES)))
    for one, other in read:
        confusion[one.heart_size, other.heart_size] += 1
    of_vhs, of_class = intraclass_correlation(vhs), float(kappa(confusion))
    if not math.isnan(of_vhs):
        found.intraclass_correlation = of_vhs
    if not math.isnan(of_class):
        found.kappa = of_class
    found.key_point_distances.extend(_distances(read).mean(axis=0))
    return found


def _image(image_id: str, read: Sequence[tuple[Reading, Reading]]) -> pb.ImageAgreement:
    return pb.ImageAgreement(
        image_id=image_id,
        vhs_difference=max(abs(one.vhs - other.vhs) for one, other in read),
        key_point_distance=float(_distances(read).mean()),
    )


def _distances(read: Sequence[tuple[Reading, Reading]]) -> NDArray[np.float64]:
    """Returns how far the points of two labels lie apart, [N, 6] in vertebrae of the mean of their rulers."""
    return np.array(
        [
            np.linalg.norm(one.xy - other.xy, axis=1) / (0.5 * (one.vertebra + other.vertebra))
            for one, other in read
        ]
    )
