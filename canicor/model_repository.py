"""The model repository: where bundles lie, how they are written and read whole, which of them is in production.

Layout: `NAME/VERSION/` for a bundle (`canicor.bundle`), and `NAME/aliases.json`. A version exists once its
`bundle.json` does, which is written last. Versions are whole numbers, counted up from 1 by `push`; version 0 of a
model is the one that ships with Canicor.
"""

import hashlib
from collections.abc import Container, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from canicor.bundle import (
    CARD_FILE,
    FP16_FILE,
    INFO_FILE,
    INT8_FILE,
    MODEL_FILE,
    PREDICTIONS_FILE,
    Bundle,
    BundleInfo,
    Predictions,
)
from canicor.errors import DataLoss, FailedPrecondition, NotFound
from canicor.settings import Settings
from canicor.store import Store, file_url
from canicor.versions import SHIPPED_VERSION, checked_name, claim, is_name

SHIPPED = Path(__file__).parent / "shipped_models"
"""Where they lie: `NAME/0/`."""

ALIASES_FILE = "aliases.json"


class Alias(StrEnum):
    """The names under which versions are served."""

    PRODUCTION = "production"
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    """Scored beside production, on the same radiographs, without answering."""


class Aliases(BaseModel):
    """`aliases.json`: the version behind each alias, and the versions that production pointed at before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: dict[Alias, str] = {}
    history: tuple[str, ...] = ()


class ModelRepository:
    """The bundles below one URL.

    Args:
        url: As `canicor.store.Store` takes it.
        shipped: Whether the models that come with the package are there too, as version 0, which is in production
            until another one is.
    """

    def __init__(self, url: str, *, shipped: bool = False) -> None:
        self._store = Store(url)
        self._shipped = Store(file_url(SHIPPED)) if shipped else None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The repository that the settings name."""
        return cls(settings.models, shipped=settings.shipped_model)

    def names(self) -> list[str]:
        """Returns the names of the models, sorted."""
        folders = {folder for store in (self._store, self._shipped) if store for folder in store.folders()}
        return sorted(name for name in folders if is_name(name))

    def versions(self, name: str) -> list[str]:
        """Returns the versions of a model, oldest first."""
        folders = {folder for folder in self._store.folders(_checked(name)) if folder.isdecimal()}
        folders.add(SHIPPED_VERSION)
        return sorted((v for v in folders if self._of(v).exists(f"{name}/{v}/{INFO_FILE}")), key=int)

    def aliases(self, name: str) -> Aliases:
        """Returns a model's aliases; where none was ever set, production is what ships, if anything does.

        Raises:
            DataLoss: `aliases.json` can't be read as such.
        """
        try:
            return Aliases.model_validate_json(self._store.get(f"{_checked(name)}/{ALIASES_FILE}"))
        except NotFound:
            ships = self._shipped and self._shipped.exists(f"{name}/{SHIPPED_VERSION}/{INFO_FILE}")
            return Aliases(aliases={Alias.PRODUCTION: SHIPPED_VERSION} if ships else {})
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
        folder, store = f"{_checked(name)}/{version}", self._of(version)
        try:
            info = BundleInfo.model_validate_json(store.get(f"{folder}/{INFO_FILE}"))
        except NotFound as error:
            raise NotFound(f"There is no model {folder} in the repository.", reason="NO_SUCH_MODEL") from error
        except ValidationError as error:
            raise DataLoss(f"{folder}/{INFO_FILE} is not valid.", reason="BAD_BUNDLE") from error
        model, card = (_read_checked(store, folder, file, info) for file in (MODEL_FILE, CARD_FILE))
        others = {
            file: _read_checked(store, folder, file, info)
            for file in (INT8_FILE, FP16_FILE)
            if file in info.files and file in variants
        }
        return Bundle(name, version, info, model, card.decode(), others, _predictions(store, folder, info))

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
        version = claim(self._store, _checked(name), MODEL_FILE, model)
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

    def _of(self, version: str) -> Store:
        """Where a version lies."""
        return self._shipped if self._shipped and version == SHIPPED_VERSION else self._store


def _predictions(store: Store, folder: str, info: BundleInfo) -> Predictions | None:
    if PREDICTIONS_FILE not in info.files:
        return None
    content = _read_checked(store, folder, PREDICTIONS_FILE, info)
    try:
        return Predictions.from_bytes(content, info)
    except ValueError as error:
        raise DataLoss(f"{folder}/{PREDICTIONS_FILE} is not valid.", reason="BAD_BUNDLE") from error


def _read_checked(store: Store, folder: str, file: str, info: BundleInfo) -> bytes:
    try:
        content = store.get(f"{folder}/{file}")
    except NotFound as error:
        raise DataLoss(f"{folder}/{file} is missing.", reason="BAD_BUNDLE") from error
    if _sha256(content) != info.files.get(file):
        raise DataLoss(f"{folder}/{file} does not match its checksum.", reason="CHECKSUM")
    return content


def _checked(name: str) -> str:
    return checked_name(name, field="model")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
