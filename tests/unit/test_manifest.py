import io
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from canicor import manifest
from canicor.errors import InvalidArgument
from canicor.manifest import Origin, Row
from canicor.vhs import HeartSize, KeyPoints

KEY_POINTS = KeyPoints.from_array([(10, 20), (10.25, 42.5), (20, 30), (42.5, 30), (20, 5), (50, 5)])
ROW = Row(
    image_url="file:///images/1",
    image_sha256="0" * 64,
    origin=Origin.PHANTOM,
    batch_id="batch",
    batch_index=3,
    batch_seed=2**64 - 1,
    subject_id="Rex",
    split="",
    key_points=KEY_POINTS,
    pixel_aspect=1.0,
    vhs=9.0,
    heart_size=HeartSize.NORMAL,
    labeller="anna",
    review_state="pending",
)
ROWS = [ROW, replace(ROW, image_url="file:///images/2", origin=Origin.REAL, vhs=0.1 + 0.2)]


def rewritten(change) -> bytes:
    """A manifest whose table was changed by other hands."""
    buffer = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(manifest.write(ROWS)))), buffer)
    return buffer.getvalue()


CLASS_ONLY = replace(ROW, key_points=None, vhs=None)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], [], [CLASS_ONLY, ROW]])
def test_what_was_written_is_read(rows: list[Row]) -> None:
    assert manifest.read(manifest.write(rows)) == rows


def test_the_same_rows_give_the_same_bytes() -> None:
    assert manifest.write(ROWS) == manifest.write(iter(ROWS))


def test_whole_numbers_count_as_the_numbers_they_are() -> None:
    whole = [replace(ROW, vhs=9, pixel_aspect=1, batch_index=np.int64(3))]
    assert manifest.digest(whole) == manifest.digest([ROW])
    assert manifest.read(manifest.write(whole)) == [ROW]


def test_the_digest_sees_every_value_and_the_order() -> None:
    moved = KeyPoints.from_array(KEY_POINTS.xy + 1e-9)
    others = [
        {"image_url": "x"},
        {"image_sha256": "1" * 64},
        {"origin": Origin.REAL},
        {"batch_id": ""},
        {"batch_index": 4},
        {"batch_seed": 2**64 - 2},
        {"subject_id": "Rax"},
        {"split": "test"},
        {"key_points": moved},
        {"pixel_aspect": 2.0},
        {"vhs": np.nextafter(9.0, 10.0)},
        {"heart_size": HeartSize.LARGE},
        {"labeller": "ben"},
        {"review_state": "approved"},
    ]
    digests = {manifest.digest([replace(ROW, **other)]) for other in others}
    digests |= {manifest.digest([ROW]), manifest.digest(ROWS), manifest.digest(ROWS[::-1])}
    assert len(digests) == len(others) + 3


def test_the_digest_stays_the_same_across_releases() -> None:
    assert manifest.digest([ROW]) == "2df8a7256f97eb2de65086452528d3614a1343272193fd55b7dab1cbb4a44c88"


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns("vhs"),
        lambda table: table.slice(1),
        lambda table: table.replace_schema_metadata({}),
        lambda table: table.replace_schema_metadata({"canicor.digest": b"\xff"}),
        lambda table: table.set_column(
            table.schema.get_field_index("labeller"), "labeller", pa.array([None, "anna"])
        ),
        lambda table: table.set_column(table.schema.get_field_index("a_x"), "a_x", pa.array([np.nan, 1.0])),
        lambda table: table.set_column(
            table.schema.get_field_index("heart_size"), "heart_size", pa.array(["Huge", "Small"])
        ),
        lambda table: table.set_column(
            table.schema.get_field_index("batch_seed"), "batch_seed", pa.array(["x", "y"])
        ),
    ],
    ids=["no-vhs", "lost-row", "no-digest", "odd-digest", "no-labeller", "nan", "class", "type"],
)
def test_a_manifest_that_was_tampered_with_is_refused(change) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        manifest.read(rewritten(change))
    assert refusal.value.reason == "BAD_MANIFEST"


def test_damaged_bytes_are_refused() -> None:
    whole = manifest.write(ROWS)
    random = np.random.default_rng(1)
    damaged = [b"", b"PAR1", b"no parquet at all", whole[:-1], whole[: len(whole) // 2], whole[100:]]
    for _ in range(300):
        place = random.integers(4, len(whole))
        damaged.append(whole[:place] + bytes([whole[place] ^ random.integers(1, 256)]) + whole[place + 1 :])
    for content in damaged:
        with suppress(InvalidArgument):
            assert manifest.read(content) == ROWS, "damage may go unseen only where it changes nothing"


def test_records_have_a_column_for_each_coordinate() -> None:
    (record,) = manifest.records([ROW])
    assert list(record) == manifest.SCHEMA.names
    assert (record["a_x"], record["b_y"], record["f_y"]) == (10.0, 42.5, 5.0)
