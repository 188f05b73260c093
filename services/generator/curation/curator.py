"""Looks at an image as it is made."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from typing import Self

import numpy as np
from numpy.typing import NDArray

from canicor.errors import FailedPrecondition, InvalidArgument
from canicor.fingerprint import to_text
from canicor.model_input import fit
from canicor.model_repository import Alias, ModelRepository
from canicor.radiograph import Radiograph, decode
from canicor.store import Store
from services.generator.curation.findings import Code, Finding, findings
from services.generator.curation.pictures import picture, quality
from services.generator.curation.reader import Reader, Reading
from services.generator.curation.reference import Reference, Seen, reference
from services.generator.curation.settings import CurationSettings


@dataclass(frozen=True)
class Curation:
    """How images are judged: what a worker needs to do it.

    Attributes:
        settings: The limits, and where the reference lies.
        model: NAME/VERSION of the reading model; empty for none.
        models: URL of the model repository.
        shipped_model: Whether the models that ship with Canicor are there too.
        store_url: Of the object store.
    """

    settings: CurationSettings
    model: str
    models: str
    shipped_model: bool
    store_url: str

    def with_model(self, model: str) -> Self:
        """Returns the same with another reading model."""
        return replace(self, model=model)


def reading_model(name: str, models: ModelRepository) -> str:
    """Returns NAME/VERSION of the model that a setting names; empty for none, or where none is in production.

    Raises:
        FailedPrecondition: It names a version that is not there.
    """
    name, _, version = name.partition("/")
    if not version:
        version = models.aliases(name).aliases.get(Alias.PRODUCTION, "") if name else ""
    elif version not in models.versions(name):
        raise FailedPrecondition(
            f"There is no model {name}/{version}, which CANICOR_CURATION_MODEL names.", reason="CURATION_MODEL"
        )
    return f"{name}/{version}" if version else ""


@dataclass(frozen=True, eq=False)
class Examination:
    """What was seen of an image.

    Attributes:
        scores: By name; docs/generator.md lists them.
        findings: What speaks against it.
        fingerprint: As `canicor.fingerprint.to_text`; empty where it can't be read.
    """

    scores: dict[str, float]
    findings: tuple[Finding, ...]
    fingerprint: str


class Curator:
    """Judges images; loads model and reference once.

    Args:
        curation: How.

    Raises:
        FailedPrecondition: The model places no key points, or the reference can't be read.
        NotFound, DataLoss: The model can't be read.
        Unavailable: The store does not answer.
    """

    def __init__(self, curation: Curation) -> None:
        self._limits = curation.settings
        self._reader: Reader | None = None
        if curation.model:
            name, _, version = curation.model.partition("/")
            repository = ModelRepository(curation.models, shipped=curation.shipped_model)
            self._reader = Reader(repository.read(name, version))
        self.reference: Reference | None = None
        if place := curation.settings.curation_reference:
            self.reference = reference(place, self._see, curation.model, Store(curation.store_url))

    def examine(self, png: bytes) -> Examination:
        """Looks at an image."""
        try:
            radiograph = decode(png)
        except InvalidArgument as error:
            return Examination({}, (Finding(Code.EMPTY, error.message),), "")
        scores, pixels, reading = quality(radiograph), picture(radiograph), self._read(radiograph)
        seen = Seen.of(pixels, reading.features)
        more = [Finding(Code.ANATOMY, sentence) for sentence in reading.implausible]
        scores |= reading.scores
        if self.reference:
            nearest = self.reference.nearest([seen, Seen.of(np.fliplr(pixels), np.empty(0, np.float32))])
            scores |= nearest.scores
            if (alike := scores["copy_correlation"]) >= self._limits.curation_copy_correlation:
                more.append(
                    Finding(Code.COPY, f"It shows what {nearest.url} shows: they correlate by {alike:.2f}.")
                )
        found = (*findings(scores, self._limits), *more)
        # JSON, which scores are kept in, has no other numbers.
        finite = {name: score for name, score in scores.items() if isfinite(score)}
        return Examination(finite, found, to_text(seen.fingerprint))

    def features(self, png: bytes) -> NDArray[np.float32]:
        """Returns the features of an image, float32 [D]; empty where there is no model."""
        return self._read(decode(png)).features

    def _see(self, content: bytes) -> Seen:
        radiograph = decode(content)
        return Seen.of(picture(radiograph), self._read(radiograph).features)

    def _read(self, radiograph: Radiograph) -> Reading:
        if self._reader is None:
            return Reading({}, [], np.empty(0, np.float32))
        spec = self._reader.input
        return self._reader.read(fit(radiograph, spec.height, spec.width, spec.resize))


@lru_cache(maxsize=2)
def curator(curation: Curation) -> Curator:
    """Returns the curator of this process."""
    return Curator(curation)
