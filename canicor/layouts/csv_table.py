"""CSV: a line for each image with its `file` or `image_url` and its points, `a_x` to `f_y`, in pixels.

Where there are, `subject_id`, `split`, `vhs`, `origin` and `labeller` are read too. What is written has all
columns of a manifest.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from canicor import manifest
from canicor.layouts.entries import SPLITS, Entry, Sample, bad_layout, numbers, stated_vhs
from canicor.vhs import KEY_POINT_NAMES

_POINT_COLUMNS = [f"{name}_{axis}".lower() for name in KEY_POINT_NAMES for axis in "xy"]


def read(source: Path) -> Iterator[Entry | str]:
    """Yields the images of a table, and what is wrong with lines.

    Raises:
        InvalidArgument: BAD_LAYOUT: columns are missing.
        csv.Error, OSError, UnicodeDecodeError: It can't be read.
    """
    # Spreadsheets begin a file in UTF-8 with a mark of its order of bytes.
    with source.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        header = [name.lower() for name in table.fieldnames or ()]
        table.fieldnames = header
        if not {"file", "image_url"} & set(header) or not set(_POINT_COLUMNS) <= set(header):
            raise bad_layout(f"{source} needs columns file or image_url, and {', '.join(_POINT_COLUMNS)}.")
        for line in table:
            image = line.get("image_url") or line.get("file") or ""
            coordinates = [line[column] for column in _POINT_COLUMNS]
            split = (line.get("split") or "").lower()
            try:
                yield Entry(
                    image,
                    numbers(coordinates, 2) if any(coordinates) else None,
                    split=SPLITS.get(split, split),
                    subject=line.get("subject_id") or "",
                    vhs=stated_vhs(line.get("vhs")),
                    origin=manifest.Origin(line.get("origin") or manifest.Origin.REAL),
                    labeller=line.get("labeller") or "",
                )
            except ValueError as error:
                yield f"{image or f'line {table.line_num}'}: {error}"


def encode(samples: Iterable[Sample]) -> bytes:
    """Returns a table with a line for each sample."""
    text = io.StringIO()
    writer = csv.DictWriter(text, manifest.SCHEMA.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(manifest.records(sample.row for sample in samples))
    return text.getvalue().encode()
