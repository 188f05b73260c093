"""Splits that divide no dog, and images that are the labelled ones."""

import hashlib
import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from canicor import phantom
from canicor.bundle import InputSpec
from canicor.errors import InvalidArgument
from canicor.manifest import Origin, Row
from canicor.model_input import ResizeRule
from canicor.store import file_url
from canicor.vhs import HEART_SIZES, HeartSize, KeyPoints, measure
from training.dataset import SPLITS, Dataset, Images, split

SPEC = InputSpec(height=96, width=128, resize=ResizeRule.LETTERBOX)
POINTS = KeyPoints.from_array([[60, 40], [80, 75], [50, 65], [85, 50], [45, 30], [90, 25]])


def row(number: int, heart_size: HeartSize = HeartSize.NORMAL, subject: str = "", split: str = "") -> Row:
    return Row(
        image_url=f"memory:///{number}.png",
        image_sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        origin=Origin.PHANTOM,
        batch_id="",
        batch_index=0,
        batch_seed=0,
        subject_id=subject,
        split=split,
        key_points=POINTS,
        pixel_aspect=1.0,
        vhs=measure(POINTS).vhs,
        heart_size=heart_size,
        labeller="test",
        review_state="approved",
    )


def rows_of(counts: dict[HeartSize, int], per_subject: int = 1) -> list[Row]:
    sizes = [size for size, count in counts.items() for _ in range(count)]
    return [row(i, size, f"{size}-{i // per_subject}") for i, size in enumerate(sizes)]


MIXED = {HeartSize.SMALL: 30, HeartSize.NORMAL: 120, HeartSize.LARGE: 60}


def test_each_class_is_split_70_10_20() -> None:
    counts = Counter((one.split, one.heart_size) for one in split(rows_of(MIXED), seed=0))
    for size, total in MIXED.items():
        shares = [counts[name, size] / total for name in ("train", "validation", "test")]
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=1.01 / total)


@pytest.mark.parametrize("seed", range(3))
def test_a_dog_is_in_one_split_only(seed: int) -> None:
    splits: dict[str, set[str]] = {}
    done = split(rows_of(MIXED, per_subject=4), seed)
    for one in done:
        splits.setdefault(one.subject_id, set()).add(one.split)
    assert all(len(names) == 1 for names in splits.values())
    assert Counter(one.split for one in done)["test"] == pytest.approx(42, abs=8)


def test_the_seed_alone_decides() -> None:
    rows = rows_of(MIXED)
    assert split(rows, 1) == split(rows, 1)
    assert split(rows, 1) != split(rows, 2)
    assert set(split(rows[::-1], 1)) == set(split(rows, 1))


def test_stated_splits_stay_and_the_dog_follows_them() -> None:
    rows = rows_of(MIXED, per_subject=2)
    rows[0] = replace(rows[0], split="test")
    done = split(rows, seed=0)
    assert [one.split for one in done[:2]] == ["test", "test"]


def test_copies_without_a_subject_stay_together() -> None:
    rows = rows_of(MIXED)
    copies = [replace(row(5000, HeartSize.SMALL), image_url=f"memory:///copy-{i}.png") for i in range(6)]
    assert len({one.split for one in split(rows + copies, seed=0)[-6:]}) == 1


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "holds 0 images"),
        (rows_of({HeartSize.SMALL: 6, HeartSize.NORMAL: 6, HeartSize.LARGE: 6}), "holds 18 images"),
        (rows_of({HeartSize.SMALL: 30, HeartSize.LARGE: 30}), "no Normal heart to train on"),
        ([*rows_of(MIXED), row(999, split="holdout")], "'holdout'"),
        ([*rows_of(MIXED), row(998, subject="d", split="test"), row(999, subject="d", split="train")], "one only"),
        ([replace(one, split="train") for one in rows_of(MIXED)], "validation split is empty"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(rows: list[Row], sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        split(rows, seed=0)


def png(folder: Path, width: int = 200, height: int = 100) -> Row:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (height, width), dtype=np.uint8)).save(buffer, "PNG")
    (folder / "one.png").write_bytes(buffer.getvalue())
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    return replace(row(0, HeartSize.LARGE), image_url=file_url(folder / "one.png"), image_sha256=sha256)


def load(*rows: Row) -> Images:
    return Images.load(rows, SPEC, lambda: None)


def test_points_come_back_from_the_input_as_they_were_labelled(tmp_path: Path) -> None:
    images = load(png(tmp_path))
    assert images.pixels.shape == (1, 96, 128)
    assert images.classes.tolist() == [HEART_SIZES.index(HeartSize.LARGE)]
    assert images.key_points_of(images.points)[0].xy == pytest.approx(POINTS.xy, abs=1e-4)
    assert images.vhs_of(images.points) == pytest.approx([measure(POINTS).vhs], rel=1e-5)


def test_vhs_is_measured_in_square_pixels(tmp_path: Path) -> None:
    wanted = measure(POINTS, (1.2, 1.0)).vhs
    images = load(replace(png(tmp_path), pixel_aspect=1.2, vhs=wanted))
    assert images.vhs_of(images.points) == pytest.approx([wanted], rel=1e-5)
    assert abs(wanted - measure(POINTS).vhs) > 0.1


def test_images_that_are_not_the_labelled_ones_are_refused(tmp_path: Path) -> None:
    good = png(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    bad_sum = hashlib.sha256((tmp_path / "bad.png").read_bytes()).hexdigest()
    bad = replace(good, image_url=file_url(tmp_path / "bad.png"), image_sha256=bad_sum)
    gone = replace(good, image_url=file_url(tmp_path / "none.png"))
    other = replace(good, image_sha256="0" * 64)
    with pytest.raises(InvalidArgument) as refusal:
        load(good, gone, other, bad, good)
    assert refusal.value.reason == "BAD_DATASET"
    title, *lines = refusal.value.message.split("\n")
    assert title == "The dataset has 3 problems:"
    for line, sentence in zip(
        lines,
        ("none.png: The object is gone", "one.png: .* checksum", r"bad\.png: The PNG file is cut off"),
        strict=True,
    ):
        assert re.search(sentence, line)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"key_points": KeyPoints.from_array([[60, 40], [280, 75], [50, 65], [85, 50], [45, 30], [90, 25]])},
            "B out",
        ),
        (
            {"key_points": KeyPoints.from_array([[60, 40], [80, 75], [50, 65], [85, 50], [45, 30], [45, 30]])},
            "no len",
        ),
        ({"vhs": 11.0}, r"VHS is 11\.00, that of its points 10\.39"),
        ({"heart_size": HeartSize.NORMAL}, r"labelled Normal, but VHS 10\.39 is Large"),
    ],
    ids=["outside", "degenerate", "vhs", "class"],
)
def test_labels_that_contradict_themselves_are_refused(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        load(replace(png(tmp_path), **change))


def test_a_long_list_is_cut() -> None:
    with pytest.raises(InvalidArgument, match="30 problems") as refusal:
        load(*[row(number, HeartSize.LARGE) for number in range(30)])
    assert refusal.value.message.endswith("and 10 more")


def test_an_image_may_have_a_class_alone(tmp_path: Path) -> None:
    images = load(replace(png(tmp_path), key_points=None, vhs=None, heart_size=HeartSize.SMALL))
    assert images.classes.tolist() == [HEART_SIZES.index(HeartSize.SMALL)]
    assert np.isnan(images.points).all()


def test_a_radiograph_in_two_splits_is_refused_whatever_its_file(tmp_path: Path) -> None:
    def stored(name: str, image: Image.Image, split: str, **saving: object) -> Row:
        image.save(tmp_path / name, **saving)
        content = (tmp_path / name).read_bytes()
        measured = measure(POINTS)
        sha256 = hashlib.sha256(content).hexdigest()
        return replace(
            row(0, measured.heart_size, split=split), image_url=file_url(tmp_path / name), image_sha256=sha256
        )

    pictures = [Image.fromarray(phantom.draw(3, index, width=240, height=180).pixels) for index in range(3)]
    rows = [stored(f"{i}.png", one, split) for i, (one, split) in enumerate(zip(pictures, SPLITS, strict=True))]
    assert len(Dataset.load(rows, SPEC, lambda *told: None).test) == 1
    copy = stored("copy.jpg", pictures[0].resize((200, 150)), "test", quality=70)
    with pytest.raises(InvalidArgument, match=r"0\.png \(train\) shows what .*copy\.jpg \(test\) shows"):
        Dataset.load([*rows, copy], SPEC, lambda *told: None)
