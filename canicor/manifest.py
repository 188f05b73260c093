"""The dataset manifest: a Parquet file with a row per labelled image, and one digest over it.

Needs pyarrow, which the extras `generator`, `labeling` and `training` bring.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from canicor.errors import InvalidArgument
from canicor.vhs import KEY_POINT_NAMES, HeartSize, KeyPoints, heart_size, measure

_POINT_COLUMNS = [f"{name.lower()}_{axis}" for name in KEY_POINT_NAMES for axis in "xy"]

SCHEMA = pa.schema(
    [
        ("image_url", pa.string()),
        ("image_sha256", pa.string()),
        ("origin", pa.string()),
        ("batch_id", pa.string()),
        ("batch_index", pa.int64()),
        ("batch_seed", pa.uint64()),
        ("subject_id", pa.string()),
        ("split", pa.string()),
        *((column, pa.float64()) for column in _POINT_COLUMNS),
        ("pixel_aspect", pa.float64()),
        ("vhs", pa.float64()),
        ("heart_size", pa.string()),
        ("labeller", pa.string()),
        ("review_state", pa.string()),
    ]
)

VHS_ROUNDING = 0.05 + 1e-6
"""A VHS that is written down is rounded to a tenth."""

_PLAIN_COLUMNS = [name for name in SCHEMA.names if name not in _POINT_COLUMNS]
_DIGEST_KEY = b"canicor.digest"


class Origin(StrEnum):
    """Where an image came from."""

    REAL = "real"
    GENERATED = "generated"
    PHANTOM = "phantom"


@dataclass(frozen=True)
class Row:
    """One labelled image.

    Attributes:
        image_url: As `canicor.store.read` takes it.
        image_sha256: Of the image's bytes, lower-case hexadecimal.
        batch_id, batch_index, batch_seed: The generator's, for images that it made; empty and 0 for others.
        subject_id: The dog. Splits never divide one.
        split: `train`, `validation` or `test`; empty where not yet split.
        key_points: In pixels of the image; None where only the class is known.
        pixel_aspect: Row spacing over column spacing.
        vhs: In vertebrae; None without key points.
        labeller: Who placed the points; several, where these are the mean of theirs, as `anna, ben`.
        review_state: `pending`, `approved`, `corrected`, or `adjudicated` where a reviewer decided between labels.
    """

    image_url: str
    image_sha256: str
    origin: Origin
    batch_id: str
    batch_index: int
    batch_seed: int
    subject_id: str
    split: str
    key_points: KeyPoints | None
    pixel_aspect: float
    vhs: float | None
    heart_size: HeartSize
    labeller: str
    review_state: str


def write(rows: Iterable[Row]) -> bytes:
    """Returns the Parquet file of some rows; its metadata holds their digest."""
    table = _table(rows)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_DIGEST_KEY: _digest(table)}), buffer)
    return buffer.getvalue()


def read(content: bytes) -> list[Row]:
    """Reads a manifest.

    Raises:
        InvalidArgument: It is not Parquet, columns are missing, a row is not valid, or the digest is off.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
        stated = (table.schema.metadata or {}).get(_DIGEST_KEY)
        table = table.select(SCHEMA.names).cast(SCHEMA)
        rows = [_row(record) for record in table.to_pylist()]
    # Parquet's damaged headers come as OSError.
    except (pa.ArrowException, KeyError, OSError, TypeError, ValueError) as error:
        raise InvalidArgument(
            "This is no dataset manifest: export one with `canicor` or LabelingService.ExportDataset.",
            reason="BAD_MANIFEST",
        ) from error
    if stated != _digest(table):
        raise InvalidArgument("The manifest's rows do not match its digest.", reason="BAD_MANIFEST")
    return rows


def digest(rows: Iterable[Row]) -> str:
    """Returns the SHA-256 over all rows in their order, whatever version of Parquet holds them."""
    return _digest(_table(rows)).decode()


def records(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Returns rows as a manifest holds them: by the columns of `SCHEMA`, a column for each coordinate."""
    held: list[dict[str, Any]] = _table(rows).to_pylist()
    return held


def label_problems(row: Row, received: tuple[int, int]) -> list[str]:
    """Returns what speaks against a label.

    Args:
        row: With its label.
        received: Height and width of its image in pixels.
    """
    if row.key_points is None or row.vhs is None:
        return []
    height, width = received
    if outside := row.key_points.outside(width, height):
        return [f"{', '.join(outside)} outside the image of {width} x {height} pixels"]
    try:
        measured = measure(row.key_points, (row.pixel_aspect, 1.0)).vhs
    except InvalidArgument as error:
        return [error.message]
    problems = []
    if abs(measured - row.vhs) > VHS_ROUNDING:
        problems.append(f"the label's VHS is {row.vhs:.2f}, that of its points {measured:.2f}")
    if heart_size(row.vhs) != row.heart_size:
        problems.append(f"labelled {row.heart_size}, but VHS {row.vhs:.2f} is {heart_size(row.vhs)}")
    return problems


def _table(rows: Iterable[Row]) -> pa.Table:
    return pa.Table.from_pylist([_record(row) for row in rows], schema=SCHEMA)


def _digest(table: pa.Table) -> bytes:
    # Over what the columns hold, so that a 9 given for 9.0 reads back to the same digest.
    sha256 = hashlib.sha256()
    for record in table.to_pylist():
        sha256.update(json.dumps(record, sort_keys=True).encode() + b"\n")
    return sha256.hexdigest().encode()


def _record(row: Row) -> dict[str, object]:
    points = row.key_points.xy.ravel().tolist() if row.key_points else [None] * len(_POINT_COLUMNS)
    return {name: getattr(row, name) for name in _PLAIN_COLUMNS} | dict(zip(_POINT_COLUMNS, points, strict=True))


def _row(record: dict[str, Any]) -> Row:
    missing = {column for column, value in record.items() if value is None}
    if missing and missing != {*_POINT_COLUMNS, "vhs"}:
        raise ValueError("a value is missing")
    points = [record.pop(column) for column in _POINT_COLUMNS]
    typed = {"origin": Origin(record["origin"]), "heart_size": HeartSize(record["heart_size"])}
    key_points = None if missing else KeyPoints.from_array(np.reshape(points, (-1, 2)))
    return Row(**{**record, **typed}, key_points=key_points)
