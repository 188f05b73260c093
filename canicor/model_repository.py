"""The model repository: where bundles lie, how they are written and read whole, which of them is in production.

Layout: `NAME/VERSION/` for a bundle (`canicor.bundle`), and `NAME/aliases.json`. A version exists once its
`bundle.json` does, which is written last. Versions are whole numbers, counted up by `push`.
"""

import hashlib
import re
from collections.abc import Container, Mapping
from enum import StrEnum

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
from canicor.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from canicor.store import Store

ALIASES_FILE = "aliases.json"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


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
