"""`canicor phantom`: what lies in the folder afterwards."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from typer.testing import CliRunner

from canicor import manifest
from canicor.errors import InvalidArgument
from canicor.phantom import draw
from canicor.phantom.command import app
from canicor.phantom.folder import MANIFEST, TRUTH
from canicor.radiograph import View, decode
from canicor.vhs import HeartSize, heart_size, measure

RUNNER = CliRunner()
SIZE = ["--size", "160", "128"]


def run(*arguments: object) -> None:
    RUNNER.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False)


def picture(file):
    with Image.open(file) as image:
        return np.asarray(image)


def test_a_folder_has_images_manifest_and_truth(tmp_path):
    run("write", tmp_path, "--count", 3, "--seed", 6, *SIZE, "--heart-size", "Large", "--fix", "roll=4")
    rows = manifest.read((tmp_path / MANIFEST).read_bytes())
    truth = [json.loads(line) for line in (tmp_path / TRUTH).read_text().splitlines()]
    assert len(rows) == len(truth) == 3
    for index, (row, line) in enumerate(zip(rows, truth, strict=True)):
        drawn = draw(6, index, heart_size=HeartSize.LARGE, fixed={"roll": 4.0}, width=160, height=128)
        assert np.array_equal(picture(tmp_path / line["image"]), drawn.pixels)
        assert row.image_url.endswith(line["image"])
        assert row.origin is manifest.Origin.PHANTOM
        assert row.key_points == drawn.key_points
        assert row.heart_size is HeartSize.LARGE
        assert line["key_points"] == drawn.key_points.xy.tolist()
        assert line["parameters"] == drawn.parameters
        assert line["breed"] == drawn.breed
        assert line["view"] == drawn.view
        assert line["vhs"] == row.vhs == drawn.vhs


def test_dicom_files_read_back_as_the_phantoms(tmp_path):
    run("write", tmp_path, "--count", 8, "--seed", 2, *SIZE, "--format", "dicom", "--fix", "jpeg_quality=0")
    rows = manifest.read((tmp_path / MANIFEST).read_bytes())
    polarities = set()
    for index, row in enumerate(rows):
        content = (tmp_path / "images" / f"{index:06}.dcm").read_bytes()
        polarities.add(b"MONOCHROME1" in content)
        radiograph = decode(content)
        drawn = draw(2, index, fixed={"jpeg_quality": 0.0}, width=160, height=128)
        assert radiograph.view is View.LATERAL
        shown = radiograph.pixels
        assert shown.shape == (128, 160)
        # Whatever the polarity and the bits, dense is bright and the picture is the same.
        assert np.corrcoef(shown.ravel(), drawn.pixels.ravel())[0, 1] > 0.999
        assert measure(row.key_points).vhs == pytest.approx(drawn.vhs)
        vertebra_cm = drawn.parameters["vertebra_cm"]
        e, f = row.key_points.xy[4:]
        assert radiograph.pixel_spacing is not None
        assert np.hypot(*(f - e)) * radiograph.pixel_spacing[0] == pytest.approx(60 * vertebra_cm, rel=1e-3)
    assert polarities == {True, False}


def test_sizes_vary_where_none_is_asked_for(tmp_path):
    run("write", tmp_path, "--count", 2, "--seed", 31, "--vhs-range", 12, 13)
    rows = manifest.read((tmp_path / MANIFEST).read_bytes())
    assert {heart_size(row.vhs) for row in rows} == {HeartSize.LARGE}
    sizes = [picture(row.image_url.removeprefix("file://")).shape[::-1] for row in rows]
    assert sizes[0] != sizes[1]
    for row, (width, height) in zip(rows, sizes, strict=True):
        assert 500 <= width <= 3000
        assert row.key_points.outside(width, height) == []


@pytest.mark.parametrize("wish", ["fat", "fat=thick", "no_such_thing=1"])
def test_a_wish_that_cannot_be_read_is_one_sentence(tmp_path, wish):
    with pytest.raises(InvalidArgument):
        run("write", tmp_path, "--count", 1, *SIZE, "--fix", wish)


def test_sheets_say_that_they_show_phantoms(tmp_path):
    run("sheet", tmp_path / "sheet.png", "--count", 7)
    run("parts", tmp_path / "parts.png")
    sheet, parts = (picture(tmp_path / name) for name in ("sheet.png", "parts.png"))
    assert sheet.shape[1] > 6 * 256
    assert parts.shape[0] > 3 * 300
    words = Image.new("RGB", (400, 20))
    sentence = "Procedural phantoms, not canine; not for diagnosis"
    ImageDraw.Draw(words).text((4, 2), sentence, fill="white", font=ImageFont.load_default(13))
    for page in (sheet, parts):
        assert np.array_equal(page[-20:, :400], np.asarray(words))
