"""The procedural phantom: no weights needed, key points exact."""

from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from canicor.errors import InvalidArgument
from canicor.generator.v1 import generator_pb2 as pb
from canicor.phantom import Phantom, draw
from canicor.vhs import HeartSize
from services.generator.backends.backend import MadeImage, Preview, png
from services.generator.targets import Target

DEFAULT_WIDTH, DEFAULT_HEIGHT = 512, 400

_TEXT_TO_IMAGE = ("model", "prompt", "negative_prompt", "sampler")


class PhantomBackend:
    """Draws `canicor.phantom`; see `services.generator.backends.backend.Backend`."""

    def checked(self, options: pb.GenerationOptions, targets: Sequence[Target]) -> pb.GenerationOptions:
        """Fills in the size; refuses what only text-to-image backends know."""
        for descriptor, _ in options.ListFields():
            if descriptor.name in _TEXT_TO_IMAGE:
                raise InvalidArgument(
                    f"The phantom knows no {descriptor.name}: leave it out, or take a text-to-image backend.",
                    reason="OPTION_NOT_SUPPORTED",
                    field=f"options.{descriptor.name}",
                )
        return pb.GenerationOptions(
            backend=options.backend,
            width=options.width or DEFAULT_WIDTH,
            height=options.height or DEFAULT_HEIGHT,
        )

    def make(
        self,
        seed: int,
        images: Sequence[tuple[int, Target]],
        options: pb.GenerationOptions,
        preview: Callable[[Preview], None] | None = None,
    ) -> Iterator[MadeImage]:
        """Draws the phantoms one after the other; there is nothing to see before."""
        for index, target in images:
            phantom = _draw(seed, index, target, options.width, options.height)
            yield MadeImage(
                png(Image.fromarray(phantom.pixels)),
                options.width,
                options.height,
                phantom.key_points,
                dict(phantom.parameters),
            )


def _draw(seed: int, index: int, target: Target, width: int, height: int) -> Phantom:
    if target is None:
        return draw(seed, index, width=width, height=height)
    if isinstance(target, HeartSize):
        return draw(seed, index, heart_size=target, width=width, height=height)
    lower, upper = target
    if lower == upper:
        return draw(seed, index, vhs=lower, width=width, height=height)
    return draw(seed, index, vhs_range=target, width=width, height=height)
