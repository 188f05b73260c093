"""Curation: what is wrong with an image is found and said, and what is right is let through."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from canicor import manifest
from canicor.errors import FailedPrecondition
from canicor.fingerprint import differing, fingerprint, from_text, to_text
from canicor.model_repository import Alias, ModelRepository
from canicor.phantom import draw
from canicor.store import Store, file_url
from services.generator.curation import (
    Code,
    Curation,
    CurationSettings,
    Curator,
    JudgedImage,
    Verdict,
    conclude,
    conclusion,
    reading_model,
    verdict,
)
from services.generator.curation.fidelity import fidelity
from services.generator.curation.findings import findings
from tests import toy_models
from tests.phantoms import phantom_rows

SHIPPED = "vhs-keypoints/0"
LIMITS = CurationSettings()


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def phantom(index: int = 0, **wishes: object) -> Image.Image:
    return Image.fromarray(draw(17, index, width=320, height=250, **wishes).pixels)


def curation(folder: Path, model: str = SHIPPED, **settings: object) -> Curation:
    return Curation(CurationSettings(**settings), model, "memory:///no-models", True, file_url(folder / "store"))


@pytest.fixture(scope="module")
def curator(tmp_path_factory: pytest.TempPathFactory) -> Curator:
    return Curator(curation(tmp_path_factory.mktemp("curation")))


@pytest.fixture
def beside(tmp_path: Path) -> Callable[[int], Curation]:
    """Curation beside so many phantoms, kept as a manifest."""

    def beside(count: int) -> Curation:
        rows = phantom_rows(tmp_path / "clinic", count)
        Store(file_url(tmp_path)).put("manifest.parquet", manifest.write(rows))
        return curation(tmp_path, curation_reference=str(tmp_path / "manifest.parquet"))

    return beside


def codes(examination) -> set[Code]:
    return {finding.code for finding in examination.findings}


# Single images


def test_clean_phantoms_are_accepted(curator: Curator) -> None:
    for index in range(12):
        drawn = draw(17, index, width=320, height=250)
        examined = curator.examine(png(Image.fromarray(drawn.pixels)))
        assert codes(examined) == set()
        assert verdict(examined.findings) is Verdict.ACCEPTED
        assert examined.scores["vhs"] == pytest.approx(drawn.vhs, abs=1.5)
        assert set(examined.scores) == {
            "mean_grey", "contrast", "black_share", "white_share", "sharpness",
            "lowest_peak", "distance", "disagreement", "vhs",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "expected", "becomes"),
    [
        (lambda image: Image.new("L", image.size, 90), Code.EMPTY, Verdict.REJECTED),
        (lambda image: image.point(lambda level: 100 + level // 32), Code.EMPTY, Verdict.REJECTED),
        (lambda image: image.filter(ImageFilter.GaussianBlur(3)), Code.BLURRED, Verdict.DOUBTFUL),
        (lambda image: image.point(lambda level: level // 8), Code.EXPOSURE, Verdict.DOUBTFUL),
        (lambda image: image.point(lambda level: min(255, 6 * level)), Code.CLIPPED, Verdict.DOUBTFUL),
        (lambda image: image.transpose(Image.Transpose.ROTATE_90), Code.ANATOMY, Verdict.DOUBTFUL),
        (lambda image: Image.effect_noise(image.size, 60), Code.NO_HEART, Verdict.DOUBTFUL),
        (lambda image: Image.effect_noise(image.size, 60), Code.UNUSUAL, Verdict.DOUBTFUL),
        (lambda image: Image.effect_noise(image.size, 60), Code.UNSURE, Verdict.DOUBTFUL),
    ],
)
def test_a_fault_is_found_and_named(curator: Curator, fault, expected: Code, becomes: Verdict) -> None:
    examined = curator.examine(png(fault(phantom())))
    (sentence, *_) = [finding.message for finding in examined.findings if finding.code is expected]
    assert sentence.endswith(".")
    # Of several faults the worst decides.
    assert verdict(examined.findings) in (becomes, Verdict.REJECTED)


def test_a_heart_larger_than_any_dog_s_is_doubtful(curator: Curator) -> None:
    for index in range(4):
        examined = curator.examine(png(phantom(index, vhs=19.0)))
        assert codes(examined) & {Code.VHS, Code.ANATOMY, Code.UNSURE, Code.NO_HEART, Code.UNUSUAL}
        assert verdict(examined.findings) is Verdict.DOUBTFUL


def test_without_a_model_only_the_picture_is_judged(tmp_path: Path) -> None:
    curator = Curator(curation(tmp_path, model=""))
    assert "vhs" not in curator.examine(png(phantom())).scores
    assert codes(curator.examine(png(phantom().transpose(Image.Transpose.FLIP_TOP_BOTTOM)))) == set()
    assert codes(curator.examine(png(Image.new("L", (64, 64))))) == {Code.EMPTY}


def test_a_limit_is_a_setting_and_a_score_that_is_no_number_is_found() -> None:
    scores = {"sharpness": 0.6, "vhs": 9.0}
    assert list(findings(scores, LIMITS)) == []
    (finding,) = findings(scores, CurationSettings(curation_most_vhs=8.5))
    assert (finding.code, finding.message) == (Code.VHS, "Its VHS is read as 9.0: dogs have 5 to 8.5.")
    (finding,) = findings({"sharpness": float("nan")}, LIMITS)
    assert finding.code is Code.BLURRED


def test_a_model_that_can_not_read_is_refused(tmp_path: Path) -> None:
    repository = ModelRepository(file_url(tmp_path))
    toy_models.push(repository, toy_models.class_model(), "vhs-class", kind="classifier")
    with pytest.raises(FailedPrecondition, match="CANICOR_CURATION_MODEL"):
        Curator(replace(curation(tmp_path, "vhs-class/1"), models=file_url(tmp_path)))


def test_a_model_that_answers_no_number_makes_an_image_doubtful(tmp_path: Path) -> None:
    repository = ModelRepository(file_url(tmp_path / "models"))
    toy_models.push(repository, toy_models.keypoints_model(np.full((6, 2), np.nan), np.nan))
    curator = Curator(replace(curation(tmp_path, "vhs-keypoints/1"), models=file_url(tmp_path / "models")))
    examined = curator.examine(png(phantom()))
    assert {Code.NO_HEART, Code.UNSURE, Code.ANATOMY} <= codes(examined)
    assert verdict(examined.findings) is Verdict.DOUBTFUL
    assert json.loads(json.dumps(examined.scores, allow_nan=False)) == examined.scores


def test_which_model_reads(tmp_path: Path) -> None:
    repository = ModelRepository(file_url(tmp_path))
    assert reading_model("vhs-keypoints", repository) == ""
    assert reading_model("", repository) == ""
    toy_models.push(repository)
    toy_models.push(repository, production=False)
    assert reading_model("vhs-keypoints", repository) == "vhs-keypoints/1"
    assert reading_model("vhs-keypoints/2", repository) == "vhs-keypoints/2"
    repository.set_alias("vhs-keypoints", Alias.PRODUCTION, "2")
    assert reading_model("vhs-keypoints", repository) == "vhs-keypoints/2"
    with pytest.raises(FailedPrecondition, match="vhs-keypoints/3"):
        reading_model("vhs-keypoints/3", repository)


# Beside a reference


def shifted(image: Image.Image) -> Image.Image:
    moved, file = Image.new("L", image.size), io.BytesIO()
    moved.paste(image, (-3, 2))
    moved.save(file, "JPEG", quality=60)
    return Image.open(file).convert("L")


@pytest.mark.parametrize(
    "copy",
    [
        lambda image: image,
        shifted,
        lambda image: shifted(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        lambda image: image.point(lambda level: 20 + level * 3 // 4),
        lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    ],
)
def test_a_copy_of_a_radiograph_of_the_reference_is_rejected(beside, tmp_path: Path, copy) -> None:
    curator = Curator(beside(20))
    for index in (0, 13):
        examined = curator.examine(png(copy(Image.open(tmp_path / "clinic" / f"{index}.png"))))
        assert verdict(examined.findings) is Verdict.REJECTED
        (message,) = [one.message for one in examined.findings if one.code is Code.COPY]
        assert f"/clinic/{index}.png shows" in message


def test_another_dog_is_no_copy(beside) -> None:
    curator = Curator(beside(40))
    for index in range(8):
        examined = curator.examine(png(phantom(index)))
        assert Code.COPY not in codes(examined)
        assert examined.scores["copy_correlation"] < LIMITS.curation_copy_correlation
        assert examined.scores["nearest_fingerprint"] > LIMITS.curation_duplicate_bits
        assert examined.scores["nearest_features"] > 5


def test_a_reference_is_looked_at_once(beside, tmp_path: Path) -> None:
    asked = beside(5)
    first = Curator(asked)
    (tmp_path / "clinic" / "0.png").unlink()
    copy = png(Image.open(tmp_path / "clinic" / "1.png"))
    assert Curator(asked).examine(copy).scores == first.examine(copy).scores


@pytest.mark.parametrize("damage", ["missing", "no manifest", "empty", "an image is gone"])
def test_a_reference_that_can_not_be_read_is_a_sentence(beside, tmp_path: Path, damage: str) -> None:
    asked = beside(2)
    file = tmp_path / "manifest.parquet"
    match damage:
        case "missing":
            file.unlink()
        case "no manifest":
            file.write_bytes(b"PAR1")
        case "empty":
            file.write_bytes(manifest.write([]))
        case _:
            (tmp_path / "clinic" / "0.png").unlink()
    with pytest.raises(FailedPrecondition, match="CANICOR_CURATION_REFERENCE") as refusal:
        Curator(asked)
    assert refusal.value.reason == "CURATION_REFERENCE"


# Fingerprints


def test_fingerprints_keep_through_text_and_tell_how_far_apart() -> None:
    one, other = (fingerprint(np.asarray(phantom(index))) for index in (0, 1))
    assert np.array_equal(from_text(to_text(one)), one)
    assert len(to_text(one)) == 64
    apart = differing(one, np.stack([one, other, ~one]))
    assert apart.tolist()[::2] == [0, 256]
    assert 70 < apart[1] < 200


# Whole batches


def judged(store: Store, pictures: list[Image.Image], curator: Curator) -> list[JudgedImage]:
    images = []
    for index, picture in enumerate(pictures):
        content = png(picture)
        examined = curator.examine(content)
        store.put(f"{index}.png", content)
        images.append(JudgedImage(index, f"{index}.png", examined.fingerprint, examined.findings))
    return images


def test_a_batch_is_concluded_with_duplicates_fidelity_and_a_report(beside, tmp_path: Path) -> None:
    asked = beside(30)
    store = Store(asked.store_url)
    pictures = [phantom(index) for index in range(12)]
    pictures += [shifted(pictures[3]), Image.new("L", (320, 250)), pictures[5].filter(ImageFilter.GaussianBlur(4))]
    images = judged(store, pictures, Curator(asked))
    said = conclude({"batch": "b<1>"}, images, asked, "report.html")
    assert {index: finding.code for index, finding in said.duplicates.items()} == {
        12: Code.DUPLICATE,
        14: Code.DUPLICATE,
    }
    assert "image 3 " in said.duplicates[12].message
    assert "image 5 " in said.duplicates[14].message
    assert set(said.fidelity) == {"kid", "kid_of_reference", "precision", "recall", "density", "coverage"}
    report = store.get("report.html").decode()
    assert "b&lt;1&gt;" in report
    assert report.count("<img ") == 12 + 3 + 24
    for said in ("Not cleared for diagnosis", "DUPLICATE", "BLURRED", "It shows what image 3 shows", "Reference"):
        assert said in report
    assert "Doubtful" not in report


def test_duplicates_are_found_over_any_distance(monkeypatch) -> None:
    monkeypatch.setattr(conclusion, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    prints = rng.integers(0, 2**63, (40, 4), np.uint64)
    prints[[9, 30, 31]] = prints[[2, 8, 2]]
    prints[31, 0] ^= np.uint64(0b1011)
    images = [JudgedImage(100 + index, "", to_text(one), ()) for index, one in enumerate(prints)]
    images.insert(5, JudgedImage(99, "", "", ()))
    found = conclusion.duplicates(images, 3)
    assert {index: finding.message for index, finding in found.items()} == {
        109: "It shows what image 102 shows: their fingerprints differ in 0 of 256 bits.",
        130: "It shows what image 108 shows: their fingerprints differ in 0 of 256 bits.",
        131: "It shows what image 102 shows: their fingerprints differ in 3 of 256 bits.",
    }
    assert set(conclusion.duplicates(images, 2)) == {109, 130}
    assert conclusion.duplicates(images[:1], 256) == {}
    assert conclusion.duplicates([], 32) == {}


def test_a_batch_without_a_reference_has_a_report_without_figures(tmp_path: Path) -> None:
    asked = curation(tmp_path)
    store = Store(asked.store_url)
    said = conclude({"batch": "one"}, judged(store, [phantom()], Curator(asked)), asked, "report.html")
    assert (said.duplicates, said.fidelity) == ({}, {})
    assert "CANICOR_CURATION_REFERENCE" in store.get("report.html").decode()


def test_fidelity_tells_alike_from_unlike_and_wide_from_narrow() -> None:
    rng = np.random.default_rng(0)
    real, alike = rng.normal(size=(2, 300, 16))
    own = fidelity(alike, real)
    assert abs(own["kid"]) < 0.02
    assert own["precision"] > 0.8
    assert own["recall"] > 0.8
    assert own["coverage"] > 0.9
    assert own["density"] == pytest.approx(1, abs=0.15)
    unlike = fidelity(alike + 3, real)
    assert unlike["kid"] > 20 * abs(unlike["kid_of_reference"])
    assert (unlike["precision"], unlike["coverage"]) == (0, 0)
    narrow = fidelity(0.1 * alike, real)
    assert narrow["precision"] == 1
    assert narrow["recall"] < 0.1
    assert fidelity(alike[:9], real) == {}
