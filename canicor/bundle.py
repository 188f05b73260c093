"""The model bundle: what a model repository holds, how it is written, checked and read.

Layout: `NAME/VERSION/{model.onnx, bundle.json, card.md}` and `NAME/aliases.json`. A version exists once its
`bundle.json` does, which is written last. Versions are whole numbers, counted up by `push`.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from canicor.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from canicor.model_input import ResizeRule
from canicor.store import Store
from canicor.vhs import HEART_SIZES, HeartSize

MODEL_FILE = "model.onnx"
CARD_FILE = "card.md"
INFO_FILE = "bundle.json"
ALIASES_FILE = "aliases.json"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class ModelKind(StrEnum):
    """What a model gives: class probabilities, or six key points."""

    CLASSIFIER = "classifier"
    KEYPOINTS = "keypoints"


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
    reference: Reference | None = None
    metrics: dict[str, Metric] = {}
    training_dataset_digest: str
    test_dataset_digest: str
    training_origins: tuple[str, ...]
    training_run: str
    create_time: datetime
    files: dict[str, str] = {}


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
    """

    name: str
    version: str
    info: BundleInfo
    model: bytes
    card: str


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

    def read(self, name: str, version: str) -> Bundle:
        """Reads a version and checks every file against its checksum.

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
        return Bundle(name, version, info, model, card.decode())

    def push(self, name: str, info: BundleInfo, model: bytes, card: str) -> str:
        """Writes a new version and returns it. Readers see all of it or nothing.

        Args:
            name: 1 to 64 of a-z, 0-9, `-` and `_`.
            info: Its `files` are filled in here.
            model: The ONNX file.
            card: The model card, as Markdown.
        """
        files = {MODEL_FILE: model, CARD_FILE: card.encode()}
        version = self._claim(_checked(name), model)
        self._store.put(f"{name}/{version}/{CARD_FILE}", files[CARD_FILE])
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
