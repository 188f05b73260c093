"""A dataset that is written in a layout is read back as it was, and is the same bytes each time."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.io import loadmat

from canicor import layouts, manifest, store
from canicor.errors import DataLoss, InvalidArgument
from canicor.layouts import FileLayout, FolderLayout, Sample
from canicor.manifest import Origin, Row
from canicor.vhs import HeartSize, KeyPoints, measure
from tests.radiographs import dicom, raster

READ_BACK = [FileLayout.COCO, FileLayout.CSV, FileLayout.LABEL_STUDIO, *FolderLayout]
SUFFIXES = {FileLayout.CSV: ".csv"}
POINTS = np.array([[20, 10], [30, 33], [14, 27], [38, 20], [12, 5], [50, 4]], np.float64)


def no_bar(done: int, total: int) -> None:
    pass


def sample(
    folder: Path,
    points: NDArray[np.float64] = POINTS,
    size: tuple[int, int] = (61, 39),
    spacing: tuple[float, float] = (1.0, 1.0),
    seed: int = 0,
) -> Sample:
    """A DICOM file and its label: size is width and height, spacing that of rows and columns."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 4096, (height, width), dtype=np.uint16)
    content = dicom(pixels, PixelSpacing=list(spacing))
    file = folder / f"image {seed}.dcm"
    file.write_bytes(content)
    measured = measure(KeyPoints.from_array(points), spacing)
    row = Row(
        image_url=store.file_url(file),
        image_sha256=hashlib.sha256(content).hexdigest(),
        origin=Origin.REAL,
        batch_id="",
        batch_index=0,
        batch_seed=0,
        subject_id="Rex",
        split="",
        key_points=KeyPoints.from_array(points),
        pixel_aspect=spacing[0] / spacing[1],
        vhs=measured.vhs,
        heart_size=measured.heart_size,
        labeller="anna, ben",
        review_state="approved",
    )
    return Sample(row, width, height)


def written(samples: Sequence[Sample], layout: FileLayout | FolderLayout, place: Path) -> Path:
    """Writes samples, and returns what to read."""
    if isinstance(layout, FolderLayout):
        layouts.write([one.row for one in samples], layout, place, no_bar)
        return place
    file = place.with_suffix(SUFFIXES.get(layout, ".json"))
    file.write_bytes(layouts.encode(samples, layout))
    return file


def read_back(source: Path) -> list[Row]:
    found = layouts.read(source, no_bar)
    assert (found.problems, found.unlabelled) == ((), ())
    return list(found.rows)


def files(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def assert_same_points(row: Row, points: NDArray[np.float64]) -> None:
    assert row.key_points is not None
    assert row.key_points.xy == pytest.approx(points, abs=1e-6, rel=0)


sides = st.integers(32, 75)


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(sides, sides),
    spacing=st.sampled_from([(1.0, 1.0), (0.4, 0.2), (0.143, 0.148)]),
    fractions=arrays(np.float64, (6, 2), elements=st.floats(0, 1)),
)
def test_points_come_back_from_every_layout(
    size: tuple[int, int], spacing: tuple[float, float], fractions: NDArray[np.float64]
) -> None:
    points = np.clip(fractions * size - 0.5, -0.5, np.array(size) - 0.5)
    assume(all(np.linalg.norm(points[one + 1] - points[one]) > 1 for one in (0, 2, 4)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = sample(folder, points, size, spacing)
        for layout in READ_BACK:
            (row,) = read_back(written([one], layout, folder / layout))
            assert_same_points(row, points)
            assert row.image_sha256 == one.row.image_sha256
            assert row.pixel_aspect == pytest.approx(spacing[0] / spacing[1])
            assert row.vhs == pytest.approx(one.row.vhs)


def test_points_pass_through_all_layouts_one_after_the_other(tmp_path: Path) -> None:
    samples = [sample(tmp_path, POINTS + 0.1 * seed, spacing=(0.4, 0.2), seed=seed) for seed in range(3)]
    rows = [one.row for one in samples]
    for layout in READ_BACK:
        samples = [Sample(row, 61, 39) for row in rows]
        rows = read_back(written(samples, layout, tmp_path / layout))
        # Folders name images by their digests.
        rows = sorted(rows, key=lambda row: float(row.key_points.xy[0, 0]))
    for seed, row in enumerate(rows):
        assert_same_points(row, POINTS + 0.1 * seed)


@pytest.mark.parametrize("layout", [FileLayout.COCO, FileLayout.CSV, FileLayout.LABEL_STUDIO])
def test_whose_dog_and_whose_label_it_is_comes_back(tmp_path: Path, layout: FileLayout) -> None:
    (row,) = read_back(written([sample(tmp_path)], layout, tmp_path / "labels"))
    assert (row.subject_id, row.labeller) == ("Rex", "anna, ben")
    # What a reviewer elsewhere saw, nobody here has.
    assert row.review_state == "pending"


@pytest.mark.parametrize("layout", [FileLayout.CSV, FileLayout.LABEL_STUDIO, *FolderLayout])
def test_splits_come_back(tmp_path: Path, layout: FileLayout | FolderLayout) -> None:
    splits = ("train", "validation", "test")
    samples = [sample(tmp_path, seed=seed) for seed in range(3)]
    split = {one.row.image_sha256: split for one, split in zip(samples, splits, strict=True)}
    samples = [replace(one, row=replace(one.row, split=split[one.row.image_sha256])) for one in samples]
    rows = read_back(written(samples, layout, tmp_path / "out"))
    assert {row.image_sha256: row.split for row in rows} == split


@pytest.mark.parametrize("layout", [*FileLayout, *FolderLayout])
def test_the_same_labels_are_the_same_bytes(tmp_path: Path, layout: FileLayout | FolderLayout) -> None:
    samples = [sample(tmp_path, seed=seed) for seed in range(2)]
    once, again = (written(samples, layout, tmp_path / name) for name in ("once", "again"))
    assert (files(once) or once.read_bytes()) == (files(again) or again.read_bytes())


def test_matlab_reads_points_from_1_and_no_date(tmp_path: Path) -> None:
    one = sample(tmp_path)
    folder = written([one], FolderLayout.MATLAB, tmp_path / "out")
    digest = one.row.image_sha256
    assert sorted(files(folder)) == [f"Images/{digest}.dcm", f"Labels/{digest}.mat"]
    label = folder / "Labels" / f"{digest}.mat"
    assert label.read_bytes().startswith(b"MATLAB 5.0 MAT-file, written by Canicor   ")
    assert b"Created on" not in label.read_bytes()
    assert loadmat(label)["six_points"] == pytest.approx(POINTS + 1)
    assert float(loadmat(label)["VHS"].item()) == one.row.vhs


def test_yolo_is_relative_to_the_image(tmp_path: Path) -> None:
    one = sample(tmp_path)
    folder = written([one], FolderLayout.YOLO, tmp_path / "out")
    digest = one.row.image_sha256
    assert sorted(files(folder)) == ["data.yaml", f"images/{digest}.dcm", f"labels/{digest}.txt"]
    assert (folder / "data.yaml").read_text() == (
        "train: images\nval: images\nkpt_shape: [6, 3]\nflip_idx: [0, 1, 2, 3, 4, 5]\nnames: {0: heart}\n"
    )
    numbers = list(map(float, (folder / "labels" / f"{digest}.txt").read_text().split()))
    assert len(numbers) == 5 + 18
    low, high = POINTS.min(axis=0) + 0.5, POINTS.max(axis=0) + 0.5
    assert numbers[1:5] == pytest.approx([*((low + high) / 2 / (61, 39)), *((high - low) / (61, 39))])
    assert numbers[5:8] == pytest.approx([20.5 / 61, 10.5 / 39, 2])


def test_label_studio_is_in_percent(tmp_path: Path) -> None:
    (task,) = json.loads(layouts.encode([sample(tmp_path)], FileLayout.LABEL_STUDIO))
    results = task["annotations"][0]["result"]
    assert [one["value"]["keypointlabels"] for one in results] == [[name] for name in "ABCDEF"]
    assert {(one["type"], one["original_width"], one["original_height"]) for one in results} == {
        ("keypointlabels", 61, 39)
    }
    assert (results[0]["value"]["x"], results[0]["value"]["y"]) == pytest.approx((2050 / 61, 1050 / 39))


def test_pycocotools_reads_and_judges_what_is_written(tmp_path: Path) -> None:
    samples = [sample(tmp_path, POINTS + seed, seed=seed) for seed in range(3)]
    dataset = COCO(written(samples, FileLayout.COCO, tmp_path / "labels"))
    (heart,) = dataset.loadCats(dataset.getCatIds())
    assert (heart["name"], heart["keypoints"]) == ("heart", list("ABCDEF"))
    annotations = dataset.loadAnns(dataset.getAnnIds())
    assert [one["keypoints"][:3] for one in annotations] == [[20 + seed, 10 + seed, 2] for seed in range(3)]
    found = [
        {key: one[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1} for one in annotations
    ]
    judged = COCOeval(dataset, dataset.loadRes(found), "keypoints")
    judged.params.kpt_oks_sigmas = np.full(6, 0.05)
    judged.evaluate()
    judged.accumulate()
    assert judged.eval["precision"][:, :, :, 0, :] == pytest.approx(1.0)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    rows = [sample(tmp_path, seed=seed).row for seed in range(2)]
    lost = replace(rows[1], image_sha256="0" * 64)
    with pytest.raises(DataLoss):
        layouts.write([rows[0], lost], FolderLayout.YOLO, tmp_path / "out", no_bar)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["image 0.dcm", "image 1.dcm"]
    layouts.write(rows, FolderLayout.YOLO, tmp_path / "out", no_bar)
    before = files(tmp_path / "out")
    with pytest.raises(InvalidArgument) as refusal:
        layouts.write(rows[:1], FolderLayout.YOLO, tmp_path / "out", no_bar)
    assert refusal.value.reason == "FOLDER_NOT_EMPTY"
    assert files(tmp_path / "out") == before


def test_what_a_layout_has_no_place_for_is_refused(tmp_path: Path) -> None:
    one, other = sample(tmp_path), sample(tmp_path, seed=1)
    classes = replace(one, row=replace(one.row, key_points=None, vhs=None, heart_size=HeartSize.SMALL))
    for layout in (FileLayout.COCO, FileLayout.LABEL_STUDIO, *FolderLayout):
        with pytest.raises(InvalidArgument) as refusal:
            written([classes], layout, tmp_path / layout)
        assert refusal.value.reason == "NO_KEY_POINTS"
    split = replace(other, row=replace(other.row, split="train"))
    elsewhere = replace(other, row=replace(other.row, split="fold 3"))
    for layout, samples, reason in (
        (FolderLayout.YOLO, [one, one], "DOUBLE_IMAGE"),
        (FolderLayout.YOLO, [one, split], "SPLIT"),
        (FolderLayout.YOLO, [elsewhere], "SPLIT"),
        (FolderLayout.MATLAB, [elsewhere], "SPLIT"),
    ):
        with pytest.raises(InvalidArgument) as refusal:
            written(samples, layout, tmp_path / "out")
        assert refusal.value.reason == reason


def test_images_keep_the_suffix_of_what_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    rows = []
    for kind in ("PNG", "JPEG", "TIFF"):
        content = raster(pixels, kind)
        (tmp_path / kind).write_bytes(content)
        row = replace(sample(tmp_path).row, image_url=store.file_url(tmp_path / kind))
        rows.append(replace(row, image_sha256=hashlib.sha256(content).hexdigest()))
    layouts.write(rows, FolderLayout.YOLO, tmp_path / "out", no_bar)
    assert {Path(name).suffix for name in files(tmp_path / "out/images")} == {".png", ".jpg", ".tif"}


def test_a_manifest_is_what_manifests_are(tmp_path: Path) -> None:
    one = sample(tmp_path)
    assert manifest.read(layouts.encode([one], FileLayout.MANIFEST)) == [one.row]
