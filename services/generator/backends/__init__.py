"""What can make images, by name."""

from canicor.errors import InvalidArgument
from services.generator.backends.backend import Backend, MadeImage
from services.generator.backends.phantom import PhantomBackend

__all__ = ["Backend", "MadeImage", "named"]

_BACKENDS: dict[str, Backend] = {"phantom": PhantomBackend()}


def named(name: str) -> Backend:
    """Returns a backend.

    Raises:
        InvalidArgument: There is none of this name.
    """
    if name not in _BACKENDS:
        raise InvalidArgument(
            f"There is no backend {name!r} here: take {' or '.join(sorted(_BACKENDS))}.",
            reason="UNKNOWN_BACKEND",
            field="options.backend",
        )
    return _BACKENDS[name]
