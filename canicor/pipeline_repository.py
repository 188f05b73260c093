"""Where text-to-image pipelines lie, and how they are written and read whole.

Layout: `pipelines/NAME/VERSION/` in the object store holds a pipeline's folder (`canicor.pipeline`). A version
exists once its `canicor.json` does, which is written last, and never changes. Version 0 is one that ships with
Canicor.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from canicor.errors import DataLoss, InvalidArgument, NotFound
from canicor.pipeline import INDEX_FILE, INFO_FILE, PipelineInfo
from canicor.settings import Settings
from canicor.store import Store, file_url
from canicor.versions import SHIPPED_VERSION, checked_name, claim, is_name

SHIPPED = Path(__file__).parent / "shipped_pipelines"
"""Where they lie: `NAME/0/`."""

_ROOT = "pipelines"


@dataclass(frozen=True)
class Pipelines:
    """The pipelines of one object store, and those that come with the package.

    Attributes:
        url: Of the store, as `canicor.store.Store` takes it.
        cache: The folder that versions are copied to before they are loaded.
    """

    url: str
    cache: Path

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those that the settings name."""
        return cls(settings.image_store, settings.home_folder / "pipelines")

    def names(self) -> list[str]:
        """Returns the names of the pipelines, sorted."""
        folders = {*self._store.folders(_ROOT), *_shipped().folders()}
        return sorted(name for name in folders if is_name(name) and self.versions(name))

    def versions(self, name: str) -> list[str]:
        """Returns the versions of a pipeline, oldest first."""
        folders = {one for one in self._store.folders(f"{_ROOT}/{_checked(name)}") if one.isdecimal()}
        folders.add(SHIPPED_VERSION)
        return sorted((one for one in folders if self._exists(name, one)), key=int)

    def read(self, name: str, version: str = "") -> tuple[str, PipelineInfo]:
        """Returns a version, by default the newest, and how it is asked.

        Raises:
            NotFound: There is none.
            DataLoss: `canicor.json` is not valid.
        """
        version = version or next(reversed(self.versions(name)), SHIPPED_VERSION)
        if not (version.isdecimal() and self._exists(name, version)):
            raise NotFound(
                f"There is no pipeline {name}/{version}: {', '.join(self.names())} are there.",
                reason="NO_SUCH_PIPELINE",
            )
        store, folder = self._of(name, version)
        try:
            return version, PipelineInfo.model_validate_json(store.get(f"{folder}/{INFO_FILE}"))
        except ValidationError as error:
            raise DataLoss(f"{name}/{version}/{INFO_FILE} is not valid.", reason="BAD_PIPELINE") from error

    def fetch(self, name: str, version: str) -> Path:
        """Returns a folder on this machine that holds a version, each file as it was written.

        Raises:
            NotFound: There is no such version.
            DataLoss: A file is missing, or its checksum is off.
            Unavailable: The store does not answer.
            OSError: The cache can't be written.
        """
        _, info = self.read(name, version)
        store, key = self._of(name, version)
        folder = self.cache / name / f"{version}-{info.digest[:16]}"
        for file, sha256 in info.files.items():
            copy = folder / file
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                # Workers fetch at once: each writes its own part, and the last one's stays.
                store.download(f"{key}/{file}", copy)
                if _sha256(copy) != sha256:
                    copy.unlink()
                    raise DataLoss(f"{name}/{version}/{file} does not match its checksum.", reason="CHECKSUM")
        return folder

    def push(self, name: str, folder: Path, info: PipelineInfo) -> str:
        """Writes a folder as a new version and returns it. Readers see all of it or nothing.

        Args:
            name: 1 to 64 of a-z, 0-9, `-` and `_`.
            folder: As diffusers writes it; a card may lie beside `model_index.json`.
            info: Its `files` are filled in here.

        Raises:
            InvalidArgument: The folder is no pipeline.
        """
        if not (folder / INDEX_FILE).is_file():
            raise InvalidArgument(
                f"{folder} is no pipeline's folder: it has no {INDEX_FILE}, as diffusers writes it.",
                reason="NO_PIPELINE",
            )
        paths = sorted(one for one in folder.rglob("*") if one.is_file() and one.name != INFO_FILE)
        files = {one.relative_to(folder).as_posix(): one for one in paths}
        index = (folder / INDEX_FILE).read_bytes()
        version = claim(self._store, f"{_ROOT}/{_checked(name)}", INDEX_FILE, index)
        for key, file in files.items():
            if key != INDEX_FILE:
                self._store.upload(f"{_ROOT}/{name}/{version}/{key}", file)
        complete = info.model_copy(update={"files": {key: _sha256(file) for key, file in files.items()}})
        self._store.put(
            f"{_ROOT}/{name}/{version}/{INFO_FILE}", complete.model_dump_json(indent=2).encode(), overwrite=False
        )
        return version

    @property
    def _store(self) -> Store:
        return Store(self.url)

    def _of(self, name: str, version: str) -> tuple[Store, str]:
        """Where a version lies: a store and the key of its folder."""
        if version == SHIPPED_VERSION:
            return _shipped(), f"{_checked(name)}/{version}"
        return self._store, f"{_ROOT}/{_checked(name)}/{version}"

    def _exists(self, name: str, version: str) -> bool:
        store, folder = self._of(name, version)
        return store.exists(f"{folder}/{INFO_FILE}")


def _shipped() -> Store:
    return Store(file_url(SHIPPED))


def _checked(name: str) -> str:
    return checked_name(name, field="options.model")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
