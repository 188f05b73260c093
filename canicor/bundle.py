"""The model bundle: what a model repository holds, how it is written, checked and read.

Layout: `NAME/VERSION/{model.onnx, bundle.json, card.md}`, where there are some the same graph in other number
formats and recorded predictions, and `NAME/aliases.json`. A version exists once its `bundle.json` does, which is
written last. Versions are whole numbers, counted up by `push`.
"""

import hashlib
import io
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from canicor.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from canicor.model_input import ResizeRule
from canicor.store import Store
from canicor.vhs import HEART_SIZES, VERTEBRAE_SPANNED, HeartSize

MODEL_FILE = "model.onnx"
CARD_FILE = "card.md"
PREDICTIONS_FILE = "predictions.npz"
INFO_FILE = "bundle.json"
ALIASES_FILE = "aliases.json"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class ModelKind(StrEnum):
    """What a model gives: class probabilities, or six key points."""

    CLASSIFIER = "classifier"
    KEYPOINTS = "keypoints"


class NumberFormat(StrEnum):
    """What a bundle's graph may also be there in, beside 32-bit floats."""

    INT8 = "int8"
    """Weights and activations in 8 bits, calibrated on training images."""
    FP16 = "fp16"
    """16-bit floats, for GPUs."""

    @property
    def file(self) -> str:
        """Its file in the bundle."""
        return f"model.{self}.onnx"


INT8_FILE, FP16_FILE = NumberFormat.INT8.file, NumberFormat.FP16.file

INPUT = "images"
"""The graph's input: uint8 [N, height, width]."""

OUTPUTS: dict[ModelKind, dict[str, tuple[int, ...]]] = {
    ModelKind.CLASSIFIER: {"probabilities": (3,)},
    ModelKind.KEYPOINTS: {"key_points": (6, 2), "peaks": (6,)},
}
"""The graph's outputs, float32 [N, ...], by kind: what follows N in the shape of each. `BundleInfo` says what they
mean."""

DISTANCE, HEAT_MAP = "distance", "heat_map"

OPTIONAL_OUTPUTS: dict[str, tuple[int | None, ...]] = {DISTANCE: (), HEAT_MAP: (None, None)}
"""What a graph of either kind may give beside, float32 [N, ...]; None is any size.

`distance`: how far the picture's features lie from those of the training images, 0 or more, in standard
deviations (Mahalanobis distance). `heat_map`: [N, rows, columns] from 0 to 1 over the whole of the model's input:
where the key points are seen, or what spoke for the most probable class.
"""


class Alias(StrEnum):
    """The names under which versions are served."""

    PRODUCTION = "production"
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    """Scored beside production, on the same radiographs, without answering."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Metric(_Record):
    """A measured figure with its 95 % interval over so many images."""

    value: float
    lower: float
    upper: float
    count: int = Field(ge=1)


class InputSpec(_Record):
    """The model's input: uint8 [N, height, width], grey, 0 black to 255 white."""

    height: int = Field(ge=16, le=4096)
    width: int = Field(ge=16, le=4096)
    resize: ResizeRule


class Limits(_Record):
    """Beyond these an answer is referred to a person.

    Attributes:
        min_probability: Smallest probability of the best class that may stand, 0 to 1.
        min_peak: Smallest heat-map peak among the six points that may stand, 0 to 1 (key-point models).
        max_distance: Largest `distance` that may stand; None where the graph does not give it.
    """

    min_probability: float = Field(0.0, ge=0, le=1)
    min_peak: float = Field(0.0, ge=0, le=1)
    max_distance: float | None = Field(None, gt=0)


class Histogram(_Record):
    """How a feature is spread over images.

    Attributes:
        edges: Where one bin ends and the next begins, ascending. A value on an edge lies in the bin above it; the
            first and the last bin are open.
        shares: Of the images, by bin: one more than `edges`, and they sum to 1.
    """

    edges: tuple[float, ...] = Field(min_length=1)
    shares: tuple[float, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(lower >= upper for lower, upper in pairwise(self.edges)):
            raise ValueError("edges must ascend")
        if len(self.shares) != len(self.edges) + 1 or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError("shares must be one more than edges, none negative, and sum to 1")
        return self


class Reference(_Record):
    """What inputs and answers looked like on the validation split: what drift is measured against.

    Attributes:
        count: Images of the split.
        features: By name, as `canicor.monitoring` names them.
    """

    count: int = Field(ge=1)
    features: dict[str, Histogram]


class BundleInfo(_Record):
    """`bundle.json`.

    Attributes:
        kind: What the graph gives. `classifier`: `probabilities` float32 [N, 3] in the order of `class_names`.
            `keypoints`: `key_points` float32 [N, 6, 2] in pixels of the model's input and `peaks` float32
            [N, 6], the height of each heat map's peak from 0 to 1.
        temperature: Divides the logits inside the graph (classifier); 1 where nothing was fitted.
        coverage: What prediction sets and intervals state, fitted on validation images.
        vhs_sigma: Root mean square of the VHS error on validation images, in vertebrae (keypoints).
        vhs_half_width: Half width of the VHS interval at `coverage`, in vertebrae (keypoints).
        set_probability: A class is in the prediction set where those likelier than it have at most this
            probability together (classifier); at 1 every class is.
        tolerance: How far answers may lie from the recorded predictions, in the mean over images: in total
            variation of the class probabilities (which bounds what their accuracy may change by), in vertebrae of
            a key point, in the height of a peak.
        reference: What drift is measured against; None where nothing was recorded.
        metrics: By name, on the test split; `impostors_refused` on pictures that are no lateral thorax.
        training_origins: Where the training images came from: `real`, `generated`, `phantom`.
        training_run: Names the run that made it.
        files: SHA-256 of each other file of the bundle, by name.
    """

    schema_version: int = 1
    kind: ModelKind
    input: InputSpec
    class_names: tuple[HeartSize, ...] = HEART_SIZES
    temperature: float = Field(1.0, gt=0)
    coverage: float = Field(0.9, gt=0, lt=1)
    vhs_sigma: float = Field(0.0, ge=0)
    vhs_half_width: float = Field(0.0, ge=0)
    set_probability: float = Field(0.9, gt=0, le=1)
    limits: Limits = Limits()
    tolerance: float = Field(0.05, ge=0)
    reference: Reference | None = None
    metrics: dict[str, Metric] = {}
    training_dataset_digest: str
    test_dataset_digest: str
    training_origins: tuple[str, ...]
    training_run: str
    create_time: datetime
    files: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class Predictions:
    """`predictions.npz`: what the graph said of some images when it was made.

    A server holds what it is about to serve against them: a graph that came out wrong, and a runtime or number
    format that changes its answers, are refused.

    Attributes:
        images: uint8 [K, height, width] of the model's input.
        outputs: By name, as `OUTPUTS` says, float32 [K, ...].
    """

    images: NDArray[np.uint8]
    outputs: Mapping[str, NDArray[np.float32]]

    def to_bytes(self) -> bytes:
        """Returns the file."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {"images": self.images, **self.outputs}
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, info: "BundleInfo") -> Self:
        """Reads the file.

        Raises:
            ValueError: It does not hold what a bundle of this kind and input predicts.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                images, outputs = arrays["images"], {name: arrays[name] for name in OUTPUTS[info.kind]}
        except Exception as error:
            raise ValueError("no such arrays") from error
        count = len(images) if images.ndim else 0
        expected = {name: (count, *shape) for name, shape in OUTPUTS[info.kind].items()}
        if (
            images.dtype != np.uint8
            or images.shape != (count, info.input.height, info.input.width)
            or not count
            or {name: value.shape for name, value in outputs.items()} != expected
        ):
            raise ValueError("arrays of other shapes")
        return cls(images, {name: value.astype(np.float32) for name, value in outputs.items()})

    def difference(self, outputs: Mapping[str, NDArray[np.float32]]) -> float:
        """Returns how far outputs for `images` lie from these, as `BundleInfo.tolerance` counts; NaN for NaN."""
        means = []
        for name, own in self.outputs.items():
            differences = outputs[name] - own
            if name == "probabilities":
                # With three classes, the total variation distance.
                differences = np.abs(differences).max(axis=1)
            elif name == "key_points":
                e, f = own[:, 4], own[:, 5]
                # At least a pixel: points that measure nothing are compared as well.
                vertebrae = np.maximum(np.linalg.norm(f - e, axis=1) / VERTEBRAE_SPANNED, 1)
                differences = np.linalg.norm(differences, axis=2) / vertebrae[:, np.newaxis]
            means.append(np.abs(differences).mean())
        return float(np.max(means))


class Aliases(_Record):
    """`aliases.json`: the version behind each alias, and the versions that production pointed at before."""

    aliases: dict[Alias, str] = {}
    history: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """One version of a model, checked.

    Attributes:
        name: The model's name.
        version: Its version.
        info: `bundle.json`.
        model: `model.onnx`, the bytes.
        card: `card.md`.
        variants: The same graph in other number formats, by file: `INT8_FILE`, `FP16_FILE`.
        predictions: What the graph said of some images; None where the bundle has none.
    """

    name: str
    version: str
    info: BundleInfo
    model: bytes
    card: str
    variants: Mapping[str, bytes]
    predictions: Predictions | None


class ModelRepository:
    """The bundles below one URL.

    Args:
        url: As `canicor.store.Store` takes it.
    """

    def __init__(self, url: str) -> None:
        self._store = Store(url)

    def names(self) -> list[str]:
        """Returns the names of the models, sorted."""
        return [name for name in self._store.folders() if _NAME.fullmatch(name)]

    def versions(self, name: str) -> list[str]:
        """Returns the versions of a model, oldest first."""
        folders = (folder for folder in self._store.folders(_checked(name)) if folder.isdecimal())
        return sorted((v for v in folders if self._store.exists(f"{name}/{v}/{INFO_FILE}")), key=int)

    def aliases(self, name: str) -> Aliases:
        """Returns a model's aliases; none where none was ever set.

        Raises:
            DataLoss: `aliases.json` can't be read as such.
        """
        try:
            return Aliases.model_validate_json(self._store.get(f"{_checked(name)}/{ALIASES_FILE}"))
        except NotFound:
            return Aliases()
        except ValidationError as error:
            raise DataLoss(f"{name}/{ALIASES_FILE} is not valid.", reason="BAD_ALIASES") from error

    def read(self, name: str, version: str, variants: Container[str] = ()) -> Bundle:
        """Reads a version and checks every file that it reads against its checksum.

        Args:
            name: The model's.
            version: Its version.
            variants: Which of the variants to read where the bundle has them.

        Raises:
            NotFound: There is no such version.
            DataLoss: `bundle.json` is not valid, a file is missing, or a checksum is off.
        """
        folder = f"{_checked(name)}/{version}"
        try:
            info = BundleInfo.model_validate_json(self._store.get(f"{folder}/{INFO_FILE}"))
        except NotFound as error:
            raise NotFound(f"There is no model {folder} in the repository.", reason="NO_SUCH_MODEL") from error
        except ValidationError as error:
            raise DataLoss(f"{folder}/{INFO_FILE} is not valid.", reason="BAD_BUNDLE") from error
        model, card = (self._read_checked(folder, file, info) for file in (MODEL_FILE, CARD_FILE))
        others = {
            file: self._read_checked(folder, file, info)
            for file in (INT8_FILE, FP16_FILE)
            if file in info.files and file in variants
        }
        return Bundle(name, version, info, model, card.decode(), others, self._predictions(folder, info))

    def push(
        self,
        name: str,
        info: BundleInfo,
        model: bytes,
        card: str,
        *,
        variants: Mapping[str, bytes] | None = None,
        predictions: Predictions | None = None,
    ) -> str:
        """Writes a new version and returns it. Readers see all of it or nothing.

        Args:
            name: 1 to 64 of a-z, 0-9, `-` and `_`.
            info: Its `files` are filled in here.
            model: The ONNX file.
            card: The model card, as Markdown.
            variants: The same graph in other number formats, by file: `INT8_FILE`, `FP16_FILE`.
            predictions: What the graph says of some images.
        """
        files = {MODEL_FILE: model, CARD_FILE: card.encode(), **(variants or {})}
        if predictions is not None:
            files[PREDICTIONS_FILE] = predictions.to_bytes()
        version = self._claim(_checked(name), model)
        for file, content in files.items():
            if file != MODEL_FILE:
                self._store.put(f"{name}/{version}/{file}", content)
        complete = info.model_copy(update={"files": {file: _sha256(data) for file, data in files.items()}})
        self._store.put(f"{name}/{version}/{INFO_FILE}", complete.model_dump_json(indent=2).encode())
        return version

    def set_alias(self, name: str, alias: Alias, version: str) -> None:
        """Points an alias at a version, atomically.

        Raises:
            NotFound: There is no such version.
        """
        if version not in self.versions(name):
            raise NotFound(f"There is no model {name}/{version} in the repository.", reason="NO_SUCH_MODEL")
        now = self.aliases(name)
        before = now.aliases.get(alias)
        history = now.history
        if alias is Alias.PRODUCTION and before and before != version:
            history = (*history, before)
        self._write_aliases(name, Aliases(aliases={**now.aliases, alias: version}, history=history))

    def remove_alias(self, name: str, alias: Alias) -> None:
        """Takes an alias away, atomically; one that points at nothing stays so."""
        now = self.aliases(name)
        aliases = {one: version for one, version in now.aliases.items() if one is not alias}
        self._write_aliases(name, Aliases(aliases=aliases, history=now.history))

    def roll_back(self, name: str) -> str:
        """Points production back at the version before and returns it.

        Raises:
            FailedPrecondition: There was none before.
        """
        now = self.aliases(name)
        if not now.history:
            raise FailedPrecondition(f"{name} had no version in production before.", reason="NO_VERSION_BEFORE")
        *history, version = now.history
        aliases = {**now.aliases, Alias.PRODUCTION: version}
        self._write_aliases(name, Aliases(aliases=aliases, history=tuple(history)))
        return version

    def _write_aliases(self, name: str, aliases: Aliases) -> None:
        self._store.put(f"{name}/{ALIASES_FILE}", aliases.model_dump_json(indent=2).encode())

    def _claim(self, name: str, model: bytes) -> str:
        """Writes the model under the first free number: of two pushers at once, each gets his own."""
        taken = [int(folder) for folder in self._store.folders(name) if folder.isdecimal()]
        version = max(taken, default=0) + 1
        while True:
            try:
                self._store.put(f"{name}/{version}/{MODEL_FILE}", model, overwrite=False)
            except AlreadyExists:
                version += 1
            else:
                return str(version)

    def _predictions(self, folder: str, info: BundleInfo) -> Predictions | None:
        if PREDICTIONS_FILE not in info.files:
            return None
        content = self._read_checked(folder, PREDICTIONS_FILE, info)
        try:
            return Predictions.from_bytes(content, info)
        except ValueError as error:
            raise DataLoss(f"{folder}/{PREDICTIONS_FILE} is not valid.", reason="BAD_BUNDLE") from error

    def _read_checked(self, folder: str, file: str, info: BundleInfo) -> bytes:
        try:
            content = self._store.get(f"{folder}/{file}")
        except NotFound as error:
            raise DataLoss(f"{folder}/{file} is missing.", reason="BAD_BUNDLE") from error
        if _sha256(content) != info.files.get(file):
            raise DataLoss(f"{folder}/{file} does not match its checksum.", reason="CHECKSUM")
        return content


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name[:80]!r} is no model name: use 1 to 64 of a-z, 0-9, - and _.",
            reason="MODEL_NAME",
            field="model",
        )
    return name


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
