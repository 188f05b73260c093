"""What a backend is."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image
from pydantic import JsonValue

from canicor.generator.v1 import generator_pb2 as pb
from canicor.vhs import KeyPoints
from services.generator.targets import Target


@dataclass(frozen=True)
class MadeImage:
    """An image as a backend makes it.

    Attributes:
        png: The file.
        width: Columns.
        height: Rows.
        key_points: The exact ones, in pixels of this image, where the backend knows them.
        parameters: What it was made with, for the image's JSON file.
        model_digest: Of the model, where the backend has one.
        prompt: As it was used, where the backend takes one.
    """

    png: bytes
    width: int
    height: int
    key_points: KeyPoints | None = None
    parameters: dict[str, JsonValue] = field(default_factory=dict)
    model_digest: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class Preview:
    """An image while it is made.

    Attributes:
        index: Its place in the batch.
        png: The file.
        progress: Share of its steps that are done, above 0 and below 1.
    """

    index: int
    png: bytes
    progress: float


class Backend(Protocol):
    """Makes images. Lives in the server, which checks requests by it, and in each worker, which makes them."""

    def checked(self, options: pb.GenerationOptions, targets: Sequence[Target]) -> pb.GenerationOptions:
        """Returns options with this backend's defaults filled in. Sizes are within the API's limits.

        Raises:
            InvalidArgument: An option is set that it does not know, or a target can't be had.
        """

    def make(
        self,
        seed: int,
        images: Sequence[tuple[int, Target]],
        options: pb.GenerationOptions,
        preview: Callable[[Preview], None] | None = None,
    ) -> Iterator[MadeImage]:
        """Yields an image for each pair of index and target, in their order.

        Its bytes depend on seed, index, target and options alone, in whichever process and company it is made.

        Args:
            seed: Of the batch, 0 to 2^64 - 1.
            images: Index in the batch and target of each image.
            options: As `checked` returned them.
            preview: Shown images while they are made, where the backend makes them in steps.
        """


def png(image: Image.Image) -> bytes:
    """Returns the PNG file of a picture."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
