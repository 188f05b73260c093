"""Labelled radiographs as others lay them out become rows of a manifest, or lines that say why not."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from canicor import manifest
from canicor.errors import InvalidArgument
from canicor.manifest import Origin, Row
from canicor.store import read_checked
from canicor.vhs import KEY_POINT_NAMES, HeartSize, KeyPoints, measure
from training import layouts
from training.commands import app
from training.layouts import Import

POINTS = np.array([[60, 40], [80, 75], [50, 65], [85, 50], [45, 30], [90, 25]], np.float64)
MEASURED = measure(KeyPoints.from_array(POINTS))
COLUMNS = [f"{name}_{axis}" for name in KEY_POINT_NAMES for axis in "xy"]


def image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (100, 140), dtype=np.uint8)).save(path)


def read(source: Path) -> Import:
    return layouts.read(source, lambda done, total: None)


def only(found: Import) -> Row:
    assert (found.problems, found.unlabelled) == ((), 0)
    (row,) = found.rows
    return row


def dog_heart(folder: Path) -> Path:
    """As published: MATLAB counts pixels from 1; nobody has labelled the test images."""
    for split, names in (("Train", "ab"), ("Valid", "c")):
        for number, name in enumerate(names):
            image(folder / split / "Images" / f"{name}.png", number)
            label = folder / split / "Labels" / f"{name}.mat"
            label.parent.mkdir(exist_ok=True)
            savemat(label, {"six_points": POINTS + 1.0, "VHS": [[MEASURED.vhs]]})
    image(folder / "Test_Images" / "Images" / "d.png")
    return folder


def test_matlab_labels_beside_images(tmp_path: Path) -> None:
    found = read(dog_heart(tmp_path))
    assert [row.split for row in found.rows] == ["train", "train", "validation"]
    assert (found.problems, found.unlabelled) == ((), 1)
    for row in found.rows:
        assert row.key_points is not None
        assert row.key_points.xy == pytest.approx(POINTS)
        assert row.vhs == pytest.approx(MEASURED.vhs)
        assert (row.heart_size, row.origin) == (MEASURED.heart_size, Origin.REAL)
        assert hashlib.sha256(read_checked(row.image_url, row.image_sha256)).hexdigest() == row.image_sha256
    assert len({row.image_sha256 for row in found.rows}) == 2


def test_a_bad_label_is_named_and_the_others_stay(tmp_path: Path) -> None:
    labels = dog_heart(tmp_path) / "Train" / "Labels"
    (labels / "a.mat").write_bytes(b"MATLAB 5.0 and no more")
    savemat(labels / "b.mat", {"six_points": POINTS, "VHS": MEASURED.vhs + 1.0})
    savemat(labels / "z.mat", {"six_points": POINTS, "VHS": MEASURED.vhs})
    (tmp_path / "Valid" / "Images" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    found = read(tmp_path)
    assert found.rows == ()
    assert [line.split(": ")[0] for line in found.problems] == [
        "Train/Labels/a.mat",
        "Train/Labels/z.mat",
        "Train/Images/b.png",
        "Valid/Images/c.png",
    ]
    for line, sentence in zip(found.problems, ("no MATLAB", "no image", "stated as 11.39", "PNG"), strict=True):
        assert sentence in line


@pytest.mark.parametrize("split", ["", "Train"])
def test_folders_named_by_class_give_classes_alone(tmp_path: Path, split: str) -> None:
    for number, size in enumerate(HeartSize):
        image(tmp_path / split / size / f"{number}.png", number)
    (tmp_path / split / "Small" / "Thumbs.db").write_bytes(b"")
    found = read(tmp_path)
    assert sorted(row.heart_size for row in found.rows) == sorted(HeartSize)
    assert {(row.key_points, row.vhs, row.split) for row in found.rows} == {(None, None, split.lower())}


def test_csv_with_files_beside_it(tmp_path: Path) -> None:
    image(tmp_path / "images" / "one.png")
    line = dict(zip(COLUMNS, POINTS.ravel().tolist(), strict=True))
    lines = [
        {"file": "images/one.png", "split": "val", "subject_id": "Rex", "vhs": f"{MEASURED.vhs:.1f}", **line},
        {"file": "images/two.png", **dict.fromkeys(COLUMNS, "")},
        {"file": "images/three.png", **line},
        {"file": "images/four.png", **line, "A_x": "left"},
    ]
    with (tmp_path / "labels.csv").open("w") as file:
        writer = csv.DictWriter(file, ["file", "split", "subject_id", "vhs", *COLUMNS])
        writer.writeheader()
        writer.writerows(lines)
    found = read(tmp_path / "labels.csv")
    (row,) = found.rows
    assert (row.split, row.subject_id, row.labeller) == ("validation", "Rex", "labels.csv")
    assert found.unlabelled == 1
    assert [line.split(":")[0] for line in found.problems] == ["images/four.png", "images/three.png"]


def coco(folder: Path, *keypoints: list[float]) -> Path:
    image(folder / "one.png")
    file = folder / "labels.json"
    annotations = [{"id": number, "image_id": 7, "keypoints": one} for number, one in enumerate(keypoints)]
    images = [{"id": 7, "file_name": "one.png", "width": 140, "height": 100, "subject_id": "Rex"}]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return file


def visible(points: np.ndarray) -> list[float]:
    return np.column_stack([points, np.full(len(points), 2)]).ravel().tolist()


def test_coco_key_points(tmp_path: Path) -> None:
    row = only(read(coco(tmp_path, visible(POINTS))))
    assert row.key_points == KeyPoints.from_array(POINTS)
    assert (row.subject_id, row.split) == ("Rex", "")


@pytest.mark.parametrize(
    ("keypoints", "sentence"),
    [
        ([visible(POINTS), visible(POINTS)], "2 annotations"),
        ([visible(POINTS[:5])], "5 key points, not 6"),
        ([[*visible(POINTS)[:-1], 0]], "not all"),
        ([visible(POINTS + 60)], "outside the image of 140 x 100"),
    ],
)
def test_coco_labels_that_are_not_six_points_are_named(
    tmp_path: Path, keypoints: list[list[float]], sentence: str
) -> None:
    found = read(coco(tmp_path, *keypoints))
    assert found.rows == ()
    assert "one.png" in found.problems[0]
    assert sentence in found.problems[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty", None),
        ("labels.txt", b"text"),
        ("labels.csv", b"file,a_x\none.png,3\n"),
        ("labels.csv", b"\xff\xfe\x00"),
        ("labels.json", b"{"),
        ("labels.json", b'{"images": [{"id": 1}]}'),
        ("none.csv", None),
    ],
)
def test_what_is_no_layout_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is None and "." not in name:
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidArgument) as refusal:
        read(tmp_path / name)
    assert refusal.value.reason == "BAD_LAYOUT"


def test_the_command_stops_at_what_is_wrong_or_leaves_it_out(tmp_path: Path) -> None:
    source, target = dog_heart(tmp_path / "source"), tmp_path / "manifest.parquet"
    (source / "Train" / "Labels" / "a.mat").write_bytes(b"")
    stopped = CliRunner().invoke(app, ["import", str(source), str(target)])
    assert isinstance(stopped.exception, InvalidArgument)
    assert "a.mat" in stopped.exception.message
    assert not target.exists()
    done = CliRunner().invoke(app, ["import", str(source), str(target), "--leave-out-bad"])
    assert done.exit_code == 0, done.output
    assert "Left out: Train/Labels/a.mat" in done.stderr
    assert "2 images, 1 more without a label" in done.stdout
    assert [row.split for row in manifest.read(target.read_bytes())] == ["train", "validation"]
