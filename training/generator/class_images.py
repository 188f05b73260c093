"""What keeps a model from forgetting: images of the whole class, by the model as it was (prior preservation)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from canicor.errors import ResourceExhausted
from canicor.text_to_image import Asked, Sampling, TextToImage

ABOUT_FILE = "about.json"


@dataclass(frozen=True)
class ClassImages:
    """Images of one prompt by one model; each is made once, and the same again where it is lost.

    Attributes:
        root: The folder of all of them, each kind in one of its own.
        model_digest: Of the weights that make them.
        prompt: What is asked for.
        sampling: How they are made.
        seed: Of their noise.
    """

    root: Path
    model_digest: str
    prompt: str
    sampling: Sampling
    seed: int

    @property
    def folder(self) -> Path:
        """Where they lie, as PNG, beside a file that says what made them."""
        return self.root / sha256(self._about.encode()).hexdigest()[:16]

    def load(
        self, count: int, model: TextToImage, batch_size: int, made: Callable[[int, int], None]
    ) -> NDArray[np.uint8]:
        """Returns images 0 to `count` - 1, [count, height, width], and makes those that are missing.

        Args:
            count: How many.
            model: The one of the digest.
            batch_size: How many are made at once.
            made: Told how many are there, and how many there will be.

        Raises:
            ResourceExhausted: The folder can't be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ABOUT_FILE).write_text(self._about)
            for start in range(0, count, batch_size):
                indices = range(start, min(start + batch_size, count))
                # All of a batch or none: an image may hang on those that are made beside it.
                if not all(self._file(index).exists() for index in indices):
                    self._make(indices, model)
                made(indices[-1] + 1, count)
        except OSError as error:
            raise ResourceExhausted(f"{self.folder} can't be written: {error}.", reason="NO_SPACE") from error
        empty = np.empty((0, self.sampling.height, self.sampling.width), np.uint8)
        return np.stack([np.asarray(Image.open(self._file(index))) for index in range(count)]) if count else empty

    def _make(self, indices: range, model: TextToImage) -> None:
        asked = [Asked(((self.prompt, 1.0),), "", self.seed, index) for index in indices]
        for index, image in zip(indices, model.make(asked, self.sampling), strict=True):
            part = self._file(index).with_suffix(".part")
            image.save(part, "PNG")
            part.replace(self._file(index))

    def _file(self, index: int) -> Path:
        return self.folder / f"{index:06d}.png"

    @property
    def _about(self) -> str:
        about = {"prompt": self.prompt, "model_digest": self.model_digest, "seed": self.seed}
        return json.dumps(about | vars(self.sampling), indent=2, sort_keys=True)
