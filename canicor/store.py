"""Objects by URL: one interface over folders, S3, GCS, Azure and memory, by obstore."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore, from_url

from canicor.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound, Unavailable

_SCHEMES = frozenset({"file", "s3", "gs", "az", "memory"})


class Store:
    """The objects below one URL, by key.

    A key is a relative path with `/` between its parts. `put` is atomic: a reader sees the old bytes or the new.
    The methods block; call them from a thread where an event loop runs.

    Args:
        url: `file:///folder` (made at the first write), `s3://bucket/prefix`, `gs://...`, `az://...` or
            `memory:///`. Credentials come from the environment, as each provider documents.

    Raises:
        InvalidArgument: The URL names no kind of store.
    """

    def __init__(self, url: str) -> None:
        root, self._prefix = _split(url)
        self._url = url.rstrip("/")
        self._objects = _open(root)

    def url(self, key: str) -> str:
        """Returns the URL of an object, which `read` takes."""
        return f"{self._url}/{key}"

    def get(self, key: str) -> bytes:
        """Returns an object's bytes.

        Raises:
            NotFound: There is none under this key.
            Unavailable: The store does not answer.
        """
        with _translating(key):
            return bytes(obstore.get(self._objects, self._path(key)).bytes())

    def put(self, key: str, content: bytes, *, overwrite: bool = True) -> None:
        """Writes an object whole.

        Raises:
            AlreadyExists: It exists, and `overwrite` is off.
            Unavailable: The store does not answer, or is full.
        """
        with _translating(key):
            obstore.put(self._objects, self._path(key), content, mode="overwrite" if overwrite else "create")

    def upload(self, key: str, file: Path) -> None:
        """Writes an object from a file of any size; errors as `put`."""
        with _translating(key):
            obstore.put(self._objects, self._path(key), file)

    def download(self, key: str, file: Path) -> None:
        """Writes an object of any size to a file, which appears whole.

        Raises:
            NotFound: There is none under this key.
            Unavailable: The store does not answer, or the file can't be written.
        """
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            with _translating(key), part.open("wb") as content:
                for piece in obstore.get(self._objects, self._path(key)).stream():
                    content.write(piece)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        """Removes an object; one that is not there is no error."""
        with suppress(NotFound), _translating(key):
            obstore.delete(self._objects, self._path(key))

    def exists(self, key: str) -> bool:
        """Tells whether there is an object under this key."""
        with suppress(NotFound), _translating(key):
            obstore.head(self._objects, self._path(key))
            return True
        return False

    def folders(self, prefix: str = "") -> list[str]:
        """Returns the names of the folders directly below a prefix, sorted."""
        with _translating(prefix):
            listing = obstore.list_with_delimiter(self._objects, self._path(prefix) or None)
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in listing["common_prefixes"])

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yields the keys below a prefix, in no order."""
        start = f"{self._prefix}/" if self._prefix else ""
        with _translating(prefix):
            for part in obstore.list(self._objects, self._path(prefix) or None):
                yield from (meta["path"].removeprefix(start) for meta in part)

    def _path(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)


def read(url: str) -> bytes:
    """Returns the bytes of the object at a URL, as `Store.url` gives it.

    Raises:
        InvalidArgument: The URL names no kind of store.
        NotFound: There is no such object.
        Unavailable: The store does not answer.
    """
    folder, _, name = url.rpartition("/")
    return Store(folder).get(unquote(name))


def read_checked(url: str, sha256: str) -> bytes:
    """Returns the bytes of the object at a URL, which must be those that were written.

    Args:
        url: As `read` takes it.
        sha256: Of the bytes, in lower-case hexadecimal.

    Raises:
        DataLoss: They are gone, or others.
        Unavailable: The store does not answer.
    """
    try:
        content = read(url)
    except NotFound as error:
        raise DataLoss("The object is gone from the store.", reason="OBJECT_GONE") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataLoss("The object is not what was stored: its checksum is off.", reason="CHECKSUM")
    return content


def url_of(place: str) -> str:
    """Returns the URL of an object that is named by its URL or its file."""
    return place if "://" in place else file_url(Path(place))


def file_url(path: Path) -> str:
    """Returns the `file://` URL of a folder or file."""
    return path.expanduser().resolve().as_uri()


def _split(url: str) -> tuple[str, str]:
    """Returns what names the store (`s3://bucket/`) and the path inside it."""
    refusal = InvalidArgument(
        f"{url!r} can't be opened as a store: give file:///folder, s3://, gs://, az:// or memory:///.",
        reason="STORE_URL",
    )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise refusal from error
    if parts.scheme not in _SCHEMES:
        raise refusal
    return f"{parts.scheme}://{parts.netloc}/", unquote(parts.path).strip("/")


@cache
def _open(root: str) -> ObjectStore:
    """Opens a store once: connections are shared, and memory is the same for all who name it."""
    try:
        return from_url(root)
    except (BaseError, ValueError) as error:
        raise InvalidArgument(f"{root!r} can't be opened as a store: {error}", reason="STORE_URL") from error


@contextmanager
def _translating(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise NotFound(f"There is no object {key!r} in the store.", reason="NO_SUCH_OBJECT") from error
    except (FileExistsError, AlreadyExistsError) as error:
        raise AlreadyExists(f"There is an object {key!r} in the store already.", reason="OBJECT_EXISTS") from error
    except ValueError as error:
        raise InvalidArgument(f"{key!r} is no key of an object.", reason="OBJECT_KEY") from error
    except (BaseError, OSError) as error:
        raise Unavailable(
            "The object store does not answer or can't be written.", reason="STORE_UNAVAILABLE"
        ) from error
