"""The radiographs that the generating model learnt from: no image may show one of them again."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from canicor import manifest
from canicor.errors import CanicorError, FailedPrecondition, NotFound
from canicor.fingerprint import Fingerprints, differing, fingerprint
from canicor.store import Store, read_checked, url_of
from canicor.store import read as read_object
from services.generator.curation.pictures import correlation, thumbnail

# How many of the nearest by each measure are laid over an image.
_CANDIDATES = 32


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of a radiograph to know it again.

    Attributes:
        fingerprint: uint64 [4].
        thumbnail: uint8, of `pictures.THUMBNAIL`.
        features: float32 [D] as `Reading.features`; empty where there is no reader.
    """

    fingerprint: Fingerprints
    thumbnail: NDArray[np.uint8]
    features: NDArray[np.float32]

    @classmethod
    def of(cls, picture: NDArray[np.uint8], features: NDArray[np.float32]) -> Self:
        """Keeps a picture, uint8 [height, width]."""
        return cls(fingerprint(picture), thumbnail(picture), features)


@dataclass(frozen=True)
class Nearest:
    """The radiograph that an image is most like.

    Attributes:
        url: Where it lies.
        scores: `copy_correlation`, the highest phase correlation; `nearest_fingerprint` in bits of 256; and where
            there are features `nearest_features` in standard deviations. Each is of the radiograph that is nearest
            by it.
    """

    url: str
    scores: dict[str, float]


@dataclass(frozen=True, eq=False)
class Reference:
    """Some radiographs.

    Attributes:
        urls: Where each lies.
        fingerprints: uint64 [N, 4].
        thumbnails: uint8 [N, rows, columns].
        features: float32 [N, D]; D is 0 where there is no reader.
    """

    urls: tuple[str, ...]
    fingerprints: Fingerprints
    thumbnails: NDArray[np.uint8]
    features: NDArray[np.float32]

    def nearest(self, ways: list[Seen]) -> Nearest:
        """Returns which of them an image is most like: those near by fingerprint or features are laid over it.

        Args:
            ways: The image, and its mirror image.
        """
        alike: dict[int, float] = {}
        bits, lengths = [], []
        for way in ways:
            orders = [differing(way.fingerprint, self.fingerprints)]
            bits.append(int(orders[0].min()))
            if way.features.size and self.features.size:
                orders.append(np.linalg.norm(self.features - way.features, axis=1))
                lengths.append(float(orders[1].min()))
            candidates = np.unique([np.argsort(order)[:_CANDIDATES] for order in orders])
            found = correlation(way.thumbnail, self.thumbnails[candidates])
            for candidate, one in zip(candidates.tolist(), found.tolist(), strict=True):
                alike[candidate] = max(one, alike.get(candidate, 0.0))
        most = max(alike, key=lambda candidate: alike[candidate])
        scores = {"copy_correlation": alike[most], "nearest_fingerprint": float(min(bits))}
        if lengths:
            scores["nearest_features"] = min(lengths)
        return Nearest(self.urls[most], scores)

    def to_bytes(self) -> bytes:
        """Returns it as a file."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            urls=np.array(self.urls),
            fingerprints=self.fingerprints,
            thumbnails=self.thumbnails,
            features=self.features,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Reads the file."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(
                tuple(arrays["urls"].tolist()), arrays["fingerprints"], arrays["thumbnails"], arrays["features"]
            )


def reference(place: str, see: Callable[[bytes], Seen], seer: str, store: Store) -> Reference:
    """Returns the images of a manifest, looked at once and kept in the store.

    Args:
        place: URL or file of the manifest.
        see: Looks at an image's bytes.
        seer: Names what it sees by: another model sees other features.
        store: Where what was seen is kept.

    Raises:
        FailedPrecondition: The manifest or an image of it can't be read, or it has no image.
    """
    try:
        content = read_object(url_of(place))
        key = f"curation/{hashlib.sha256(content + seer.encode()).hexdigest()}.npz"
        try:
            return Reference.from_bytes(store.get(key))
        except NotFound:
            made = _seen(manifest.read(content), see)
            store.put(key, made.to_bytes())
            return made
    except CanicorError as error:
        raise FailedPrecondition(
            f"The reference of curation, CANICOR_CURATION_REFERENCE, can't be read: {error.message}",
            reason="CURATION_REFERENCE",
        ) from error


def _seen(rows: list[manifest.Row], see: Callable[[bytes], Seen]) -> Reference:
    if not rows:
        raise FailedPrecondition("The manifest has no image.", reason="EMPTY_MANIFEST")
    seen = [see(read_checked(row.image_url, row.image_sha256)) for row in rows]
    parts = ([one.fingerprint for one in seen], [one.thumbnail for one in seen], [one.features for one in seen])
    return Reference(tuple(row.image_url for row in rows), *map(np.array, parts))
