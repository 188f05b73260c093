"""What can be said of a batch only when all its images are made: duplicates, fidelity, the report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from canicor.fingerprint import BITS, from_text
from canicor.store import Store, read
from services.generator.curation.curator import Curation, curator
from services.generator.curation.fidelity import fidelity
from services.generator.curation.findings import Finding, Verdict, duplicate, verdict
from services.generator.curation.report import Picture, Report

_One = TypeVar("_One")

COMPARED = 1000
"""Images and radiographs that fidelity is measured over, at most: evenly over the batch."""

_BLOCK = 4096

SHOWN = 24
"""Pictures of each kind in the report, at most: evenly over the batch."""


@dataclass(frozen=True)
class JudgedImage:
    """An image of the batch.

    Attributes:
        index: Its place.
        key: Of its PNG in the object store.
        fingerprint: As `canicor.fingerprint.to_text`; empty where there is none.
        findings: What speaks against it.
    """

    index: int
    key: str
    fingerprint: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Conclusion:
    """What is said of a batch.

    Attributes:
        duplicates: By index, what is found of images that show what an earlier one shows.
        fidelity: As `curation.fidelity`, over the images that are not rejected; empty where there is no reference.
        report_key: Of the report in the object store.
    """

    duplicates: dict[int, Finding]
    fidelity: dict[str, float]
    report_key: str


def conclude(
    facts: dict[str, str], images: Sequence[JudgedImage], curation: Curation, report_key: str
) -> Conclusion:
    """Looks at a whole batch, and stores the report.

    Args:
        facts: Of the batch, for the report's head, by name.
        images: All of it, by index.
        curation: As its images were judged.
        report_key: Where the report goes.

    Raises:
        FailedPrecondition, NotFound, DataLoss: As `Curator`.
        Unavailable: The store does not answer.
    """
    store = Store(curation.store_url)
    found = duplicates(images, curation.settings.curation_duplicate_bits)
    findings = {one.index: (*one.findings, *([found[one.index]] if one.index in found else [])) for one in images}
    kinds: dict[Verdict, list[JudgedImage]] = {kind: [] for kind in Verdict}
    for image in images:
        kinds[verdict(findings[image.index])].append(image)
    figures, real = _compared([*kinds[Verdict.ACCEPTED], *kinds[Verdict.DOUBTFUL]], curation, store)
    report = Report(
        facts=facts,
        counts={kind: len(some) for kind, some in kinds.items()},
        codes=[finding.code for some in findings.values() for finding in some],
        fidelity=figures,
        pictures={
            kind: [
                Picture(f"image {one.index}", store.get(one.key), [f.message for f in findings[one.index]])
                for one in _evenly(some, SHOWN)
            ]
            for kind, some in kinds.items()
        },
        reference=[Picture("reference", read(url), []) for url in real],
    )
    store.put(report_key, report.html().encode())
    return Conclusion(found, figures, report_key)


def duplicates(images: Sequence[JudgedImage], bits: int) -> dict[int, Finding]:
    """Returns by index what is found of images whose fingerprint is an earlier one's, but for so many bits."""
    known = [one for one in images if one.fingerprint]
    found = {}
    for place, (earlier, apart) in enumerate(_nearest_before([one.fingerprint for one in known])):
        if apart <= bits:
            found[known[place].index] = duplicate(known[earlier].index, apart)
    return found


def _nearest_before(fingerprints: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields of each fingerprint which earlier one is nearest, and by how many bits.

    Block against block as products of matrices of 1 and -1, which is what a processor is fastest at.
    """
    blocks = [_signs(fingerprints[start : start + _BLOCK]) for start in range(0, len(fingerprints), _BLOCK)]
    for number, block in enumerate(blocks):
        nearest, alike = np.zeros(len(block), np.intp), np.full(len(block), -np.inf)
        for before, other in enumerate(blocks[: number + 1]):
            products = block.astype(np.float32) @ other.astype(np.float32).T
            if before == number:
                products[np.triu_indices(len(block))] = -np.inf
            best = products.argmax(axis=1)
            product = products[np.arange(len(block)), best]
            nearer = product > alike
            nearest[nearer], alike[nearer] = before * _BLOCK + best[nearer], product[nearer]
        # Further apart than can be, where there is no earlier one.
        apart = (BITS - np.maximum(alike, -BITS - 2)).astype(int) // 2
        yield from zip(nearest.tolist(), apart.tolist(), strict=True)


def _signs(fingerprints: Sequence[str]) -> NDArray[np.int8]:
    """Returns 1 or -1 for each bit, [N, BITS]."""
    numbers = np.array([from_text(one) for one in fingerprints]).astype(">u8")
    return np.unpackbits(numbers.view(np.uint8), axis=1).astype(np.int8) * 2 - 1


def _compared(
    images: Sequence[JudgedImage], curation: Curation, store: Store
) -> tuple[dict[str, float], Sequence[str]]:
    """Returns the fidelity of some images, and URLs of radiographs of the reference to show."""
    judge = curator(curation)
    if judge.reference is None:
        return {}, []
    figures = {}
    if judge.reference.features.size:
        own = [judge.features(store.get(one.key)) for one in _evenly(images, COMPARED)]
        real = _evenly(list(judge.reference.features), COMPARED)
        figures = fidelity(np.array(own, np.float64).reshape(len(own), -1), np.array(real, np.float64))
    return figures, _evenly(judge.reference.urls, SHOWN)


def _evenly(some: Sequence[_One], most: int) -> list[_One]:
    """Returns at most so many, evenly over all."""
    return [some[place] for place in np.linspace(0, len(some) - 1, min(most, len(some))).round().astype(int)]
