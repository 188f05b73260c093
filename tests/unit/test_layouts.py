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

from canicor import layouts, manifest, store
from canicor.errors import InvalidArgument
from canicor.layouts import Import
from canicor.manifest import Origin, Row
from canicor.store import read_checked
from canicor.vhs import KEY_POINT_NAMES, HeartSize, KeyPoints, measure
from training.commands import app

POINTS = np.array([[60, 40], [80, 75], [50, 65], [85, 50], [45, 30], [90, 25]], np.float64)
MEASURED = measure(KeyPoints.from_array(POINTS))
COLUMNS = [f"{name}_{axis}" for name in KEY_POINT_NAMES for axis in "xy"]


def image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (100, 140), dtype=np.uint8)).save(path)


def read(source: Path) -> Import:
    return layouts.read(source, lambda done, total: None)


def only(found: Import) -> Row:
    assert (found.problems, found.unlabelled) == ((), ())
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
    assert found.problems == ()
    (unlabelled,) = found.unlabelled
    assert unlabelled.image_url == store.file_url(tmp_path / "Test_Images" / "Images" / "d.png")
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
    assert [one.image_url for one in found.unlabelled] == [store.file_url(tmp_path / "images" / "two.png")]
    assert [line.split(":")[0] for line in found.problems] == ["images/four.png", "images/three.png"]


def test_a_table_of_a_spreadsheet_says_who_placed_the_points(tmp_path: Path) -> None:
    image(tmp_path / "one.png")
    header, line = (
        ",".join(["File", "Labeller", *COLUMNS]),
        ",".join(map(str, ["one.png", "Vera", *POINTS.ravel()])),
    )
    (tmp_path / "labels.csv").write_text(f"{header}\r\n{line}\r\n", encoding="utf-8-sig")
    assert only(read(tmp_path / "labels.csv")).labeller == "Vera"


def test_a_folder_of_images_has_no_labels(tmp_path: Path) -> None:
    image(tmp_path / "a" / "one.png")
    image(tmp_path / "two.png")
    (tmp_path / ".DS_Store").write_bytes(b"of no interest")
    (tmp_path / "notes.txt").write_bytes(b"of no interest")
    found = read(tmp_path)
    assert (found.rows, found.problems) == ((), ())
    assert [one.image_url for one in found.unlabelled] == [
        store.file_url(tmp_path / name) for name in ("a/one.png", "two.png")
    ]


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
        ([[*visible(POINTS)[:-1], "seen"]], "not all numbers"),
        ([[10**400, *visible(POINTS)[1:]]], "not all numbers"),
        ([visible(np.full((6, 2), 7.0))], "coincide"),
        ([visible(np.full((6, 2), np.nan))], "finite"),
    ],
)
def test_coco_labels_that_are_not_six_points_are_named(
    tmp_path: Path, keypoints: list[list[float]], sentence: str
) -> None:
    found = read(coco(tmp_path, *keypoints))
    assert found.rows == ()
    assert "one.png" in found.problems[0]
    assert sentence in found.problems[0]


@pytest.mark.parametrize("name", ["../one.png", "a/../../one.png", "{}/one.png", "", "\0", "\ud800.png"])
def test_no_file_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    file = coco(inside, visible(POINTS))
    image(tmp_path / "one.png")
    document = json.loads(file.read_text())
    document["images"][0]["file_name"] = name.format(tmp_path)
    file.write_text(json.dumps(document))
    found = read(file)
    assert found.rows == ()
    assert "below the folder of the labels" in found.problems[0]


def test_an_address_that_is_none_is_named(tmp_path: Path) -> None:
    file = coco(tmp_path, visible(POINTS))
    for name in ("http://[/one.png", "ftp://host/one.png", "file:///nowhere/one.png"):
        document = json.loads(file.read_text())
        document["images"][0]["file_name"] = name
        file.write_text(json.dumps(document))
        (problem,) = read(file).problems
        assert problem.startswith(name)


PERCENT = 100 * (POINTS + 0.5) / (140, 100)


def label_studio(folder: Path, *annotations: dict[str, object], **data: object) -> Path:
    """As Label Studio exports it."""
    image(folder / "one.png")
    task = {"id": 3, "data": {"image": "one.png", **data}, "annotations": annotations, "predictions": []}
    file = folder / "tasks.json"
    file.write_text(json.dumps([task]))
    return file


def annotation(names: str = "ABCDEF", **fields: object) -> dict[str, object]:
    results = [
        {
            "id": f"r{number}",
            "type": "keypointlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": 140,
            "original_height": 100,
            "image_rotation": 0,
            "value": {"x": x, "y": y, "width": 0.4, "keypointlabels": [name]},
            **fields,
        }
        for number, (name, (x, y)) in enumerate(zip(names, PERCENT.tolist(), strict=False))
    ]
    # People place points in any order, and other things beside them.
    other = {"id": "c", "type": "choices", "value": {"choices": ["lateral"]}}
    return {"id": 8, "completed_by": 2, "was_cancelled": False, "result": [other, *results[::-1]]}


def test_label_studio_key_points(tmp_path: Path) -> None:
    row = only(read(label_studio(tmp_path, annotation(), subject_id="Rex")))
    assert row.key_points is not None
    assert row.key_points.xy == pytest.approx(POINTS, abs=1e-9)
    assert (row.subject_id, row.labeller, row.origin) == ("Rex", "tasks.json", Origin.REAL)


def test_a_task_that_was_skipped_has_no_label(tmp_path: Path) -> None:
    found = read(label_studio(tmp_path, {**annotation(), "was_cancelled": True}))
    assert (len(found.rows), len(found.unlabelled), found.problems) == (0, 1, ())


@pytest.mark.parametrize(
    ("annotations", "data", "sentence"),
    [
        ([annotation(), annotation()], {}, "2 annotations"),
        ([annotation("ABCD")], {}, "points E, F are missing"),
        ([annotation("ABCDEE")], {}, "point E is there twice"),
        ([annotation(image_rotation=90)], {}, "turned"),
        ([annotation(value={"x": 1, "y": 1, "keypointlabels": ["A", "B"]})], {}, "labelled B too"),
        ([annotation("A"), {"was_cancelled": True}], {}, "points B, C, D, E, F are missing"),
        ([annotation()], {"vhs": "large"}, "VHS is no number"),
        ([annotation()], {"vhs": 5.0}, "stated as 5.00"),
        ([annotation()], {"origin": "moon"}, "moon"),
    ],
)
def test_label_studio_labels_that_are_not_six_points_are_named(
    tmp_path: Path, annotations: list[dict[str, object]], data: dict[str, object], sentence: str
) -> None:
    found = read(label_studio(tmp_path, *annotations, **data))
    assert found.rows == ()
    assert sentence in found.problems[0]


def yolo(folder: Path, line: str, **stated: object) -> Path:
    """As Roboflow exports it: folders of a split hold images and labels."""
    image(folder / "train" / "images" / "one.png")
    labels = folder / "train" / "labels"
    labels.mkdir()
    (labels / "one.txt").write_text(line)
    data = {"train": "../train/images", "kpt_shape": [6, 3], "names": ["heart"], **stated}
    (folder / "data.yaml").write_text(json.dumps(data))
    return folder


def yolo_line(flags: str = " 2") -> str:
    return "0 0.5 0.5 0.3 0.3 " + " ".join(f"{x / 100}" + f" {y / 100}{flags}" for x, y in PERCENT.tolist()) + "\n"


@pytest.mark.parametrize(("flags", "columns"), [(" 2", 3), (" 1", 3), ("", 2)])
def test_yolo_key_points(tmp_path: Path, flags: str, columns: int) -> None:
    folder = yolo(tmp_path, yolo_line(flags), kpt_shape=[6, columns])
    image(folder / "train" / "images" / "two.png", 2)
    for source in (folder, folder / "data.yaml"):
        found = read(source)
        (row,) = found.rows
        assert row.key_points is not None
        assert row.key_points.xy == pytest.approx(POINTS, abs=1e-9)
        assert (row.split, len(found.unlabelled), found.problems) == ("train", 1, ())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (yolo_line() * 2, "2 objects"),
        (yolo_line(" 0"), "not all of its key points are labelled"),
        (yolo_line().rsplit(" ", 3)[0], "5 key points, not 6"),
        (yolo_line().replace(" 2 ", " two "), "not all numbers"),
    ],
)
def test_yolo_labels_that_are_not_six_points_are_named(tmp_path: Path, line: str, sentence: str) -> None:
    found = read(yolo(tmp_path, line))
    assert found.rows == ()
    assert sentence in found.problems[0]


@pytest.mark.parametrize(
    "stated",
    [
        {"kpt_shape": [17, 3]},
        {"kpt_shape": 6},
        {"kpt_shape": None},
        {"train": "../../elsewhere"},
        {"train": "/elsewhere"},
        {"train": "nowhere"},
        {"train": ["one", "two"]},
    ],
)
def test_what_is_no_yolo_of_six_points_is_refused(tmp_path: Path, stated: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        read(yolo(tmp_path, yolo_line(), **stated))
    assert refusal.value.reason == "BAD_LAYOUT"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty", None),
        ("labels.txt", b"text"),
        ("labels.csv", b"file,a_x\none.png,3\n"),
        ("labels.csv", b"\xff\xfe\x00"),
        ("labels.json", b"{"),
        ("labels.json", b'{"images": [{"id": 1}]}'),
        ("labels.json", b'{"images": [{"id": 1, "file_name": "one.png"}], "annotations": [{"image_id'),
        ("labels.json", b'[{"data": {"image": "one.png"}, "annotations": [{"result": ['),
        ("labels.json", b'[{"data": "one.png"}]'),
        ("labels.json", b'[{"data": {"image": "one.png"}, "annotations": [{}]}]'),
        ("labels.json", b"3"),
        ("labels.json", b"[" * 200_000),
        ("data.yaml", b"{kpt_shape: ["),
        ("data.yaml", b"six points"),
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
