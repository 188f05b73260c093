"""Versions of what is pushed: `NAME/VERSION/` in an object store, whole numbers counted up from 1."""

import re

from canicor.errors import AlreadyExists, InvalidArgument
from canicor.store import Store

SHIPPED_VERSION = "0"
"""Of what comes with the package."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def is_name(name: str) -> bool:
    """Tells whether something can be pushed under this name."""
    return _NAME.fullmatch(name) is not None


def checked_name(name: str, *, field: str) -> str:
    """Returns a name under which something can be pushed.

    Raises:
        InvalidArgument: It is none; names the field of the API.
    """
    if not is_name(name):
        raise InvalidArgument(
            f"{name[:80]!r} is no model name: use 1 to 64 of a-z, 0-9, - and _.", reason="MODEL_NAME", field=field
        )
    return name


def claim(store: Store, folder: str, file: str, content: bytes) -> str:
    """Writes a version's first file under the first free number, and returns it.

    Of two who push at once, each gets a number of his own.
    """
    taken = [int(version) for version in store.folders(folder) if version.isdecimal()]
    version = max(taken, default=0) + 1
    while True:
        try:
            store.put(f"{folder}/{version}/{file}", content, overwrite=False)
        except AlreadyExists:
            version += 1
        else:
            return str(version)
