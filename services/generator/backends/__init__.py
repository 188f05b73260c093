"""What can make images, by name."""

from collections.abc import Callable

from canicor.errors import InvalidArgument
from canicor.pipeline import Computing
from canicor.pipeline_repository import Pipelines
from services.generator.backends.backend import Backend, MadeImage, Preview
from services.generator.backends.phantom import PhantomBackend
from services.generator.backends.text_to_image import TextToImageBackend

__all__ = ["Backend", "MadeImage", "Preview", "named"]

_USUAL = Computing()

_BACKENDS: dict[str, Callable[[Pipelines, Computing], Backend]] = {
    "diffusers": TextToImageBackend,
    "phantom": lambda *_: PhantomBackend(),
}


def named(name: str, pipelines: Pipelines, computing: Computing = _USUAL) -> Backend:
    """Returns a backend.

    Args:
        name: What it is called.
        pipelines: What a text-to-image backend may make images by.
        computing: How it computes them.

    Raises:
        InvalidArgument: There is none of this name.
    """
    if name not in _BACKENDS:
        raise InvalidArgument(
            f"There is no backend {name!r} here: take {' or '.join(sorted(_BACKENDS))}.",
            reason="UNKNOWN_BACKEND",
            field="options.backend",
        )
    return _BACKENDS[name](pipelines, computing)
