"""The datasets that models were made from, kept so that the next model is held to the last one honestly.

A bundle names its model's datasets by their digests alone. Their rows lie where the images do: they say whose dog
each is, which a model repository need not know.
"""

from collections.abc import Iterator, Sequence

from canicor.bundle import BundleInfo
from canicor.errors import NotFound
from canicor.manifest import Row, digest, read, write
from canicor.store import Store
from training.dataset import subject


class Lineage:
    """The datasets of one model's versions, and of what was trained and refused.

    Layout: `datasets/NAME/TRAINING_DIGEST-TEST_DIGEST.parquet`.

    Args:
        url: Of the image store.
        name: The model's.
    """

    def __init__(self, url: str, name: str) -> None:
        self._store = Store(url)
        self._folder = f"datasets/{name}"

    def keep(self, rows: Sequence[Row]) -> None:
        """Keeps the rows of a model, with their splits."""
        train, test = (digest(row for row in rows if row.split == one) for one in ("train", "test"))
        self._store.put(self._file(train, test), write(rows))

    def of(self, info: BundleInfo) -> list[Row]:
        """Returns the rows that a model was made from, with their splits.

        Raises:
            NotFound: They were not kept.
        """
        try:
            return read(self._store.get(self._file(info.training_dataset_digest, info.test_dataset_digest)))
        except NotFound as error:
            raise NotFound(
                "What the model in production was trained on is not in the image store: train it anew by "
                "`canicor train keypoints` or `canicor train classifier`.",
                reason="NO_DATASET",
            ) from error

    def may_know(self, info: BundleInfo, rows: Sequence[Row]) -> bool:
        """Tells whether a model may have been fitted on images of a dog that is among these rows."""
        if info.test_dataset_digest == digest(rows):
            return False
        try:
            fitted = {subject(row) for row in self.of(info) if row.split != "test"}
        except NotFound:
            return True
        return any(subject(row) in fitted for row in rows)

    def new_labels(self, rows: Sequence[Row]) -> int:
        """Returns how many of these labels no dataset has: of new images, and those that were changed."""
        known = {_label(row) for before in self._all() for row in before}
        return sum(_label(row) not in known for row in rows)

    def _all(self) -> Iterator[list[Row]]:
        for file in self._store.keys(self._folder):
            yield read(self._store.get(file))

    def _file(self, train: str, test: str) -> str:
        return f"{self._folder}/{train}-{test}.parquet"


def _label(row: Row) -> tuple[str, str, bytes]:
    return row.image_sha256, row.heart_size, row.key_points.xy.tobytes() if row.key_points else b""
