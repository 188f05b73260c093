"""`canicor labels` against a server: what goes in comes out, in every layout."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from canicor import errors, layouts, manifest
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labels_command import app
from canicor.messages import key_points_from
from tests.clinics import Clinic, png, points, token_of
from tests.radiographs import TWELVE_BIT, dicom

FORMATS = ("coco", "csv", "label-studio", "yolo", "matlab")


@pytest.fixture
def labels(clinic: Clinic) -> Callable[..., Result]:
    """Runs the command as the manager."""
    environment = {
        "CANICOR_HOME": str(clinic.folder),
        "CANICOR_LABELING_ADDRESS": clinic.server.address,
        "CANICOR_TOKEN": token_of("mia"),
    }

    def run(*arguments: object) -> Result:
        done = CliRunner().invoke(app, list(map(str, arguments)), env=environment)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


def file_of(folder: Path, layout: str) -> Path:
    return folder / {"manifest": "m.parquet", "coco": "c.json", "csv": "c.csv", "label-studio": "l.json"}.get(
        layout, layout
    )


def exported(clinic: Clinic, project: str) -> list[manifest.Row]:
    return manifest.read(b"".join(clinic.export(project=project)[0]))


def label_two(clinic: Clinic) -> None:
    """A picture, and a DICOM file of tall pixels, both labelled."""
    tall = np.random.default_rng(3).integers(0, 4096, (61, 81), dtype=np.uint16)
    images = [
        pb.ImportImage(content=content, subject_id=name, label=pb.ImportedLabel(key_points=where, labeller="Vera"))
        for name, content, where in (
            ("Rex", png(0), points(9.0)),
            ("Bella", dicom(tall, PixelSpacing=[0.3, 0.2]), points(7.123456789)),
        )
    ]
    clinic("mia", "ImportImages", project="hearts", images=images)


def test_what_is_not_kept_of_dicom_files_is_told(
    clinic: Clinic, labels: Callable[..., Result], tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "rex.dcm").write_bytes(dicom(InstitutionName="A clinic", BurnedInAnnotation="YES"))
    (folder / "bella.dcm").write_bytes(dicom(np.flip(TWELVE_BIT), StudyDate="20240312"))
    told = labels("import", "hearts", folder).stderr
    assert re.search(r"Not kept of files: .*InstitutionName", told)
    assert "StudyDate (0008,0020)" in told
    assert re.findall(r"Look at .*/(\w+\.dcm), image [0-9a-f]{32}: .*\(0028,0301\)", told) == ["rex.dcm"]


def test_a_folder_of_images_is_there_to_be_labelled(
    clinic: Clinic, labels: Callable[..., Result], tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    # More than go in one call.
    for number in range(203):
        (folder / f"{number:03}.png").write_bytes(png(number))
    assert (
        "Images: 203 new to hearts, 0 there already. Labels: 0 new." in labels("import", "hearts", folder).stdout
    )
    assert clinic("mia", "GetStatistics", project="hearts").open_count == 203
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "new.png").write_bytes(png(1000))
    again = labels("import", "hearts", folder)
    assert again.exit_code == 1
    assert "Images: 1 new to hearts, 203 there already. Labels: 0 new." in again.stdout
    assert "bad.png: The file is no image" in again.stderr


@pytest.mark.parametrize("layout", FORMATS)
def test_what_was_exported_is_imported_as_it_was(
    clinic: Clinic, labels: Callable[..., Result], tmp_path: Path, layout: str
) -> None:
    label_two(clinic)
    target = file_of(tmp_path, layout)
    done = labels("export", "hearts", target, "--format", layout)
    rows, digest = exported(clinic, "hearts"), clinic.export()[1]
    assert done.stdout.strip() == f"2 rows, digest {digest}"

    assert "Labels: 2 new" in labels("import", "again", target, "--labeller", "Vera").stdout
    assert "Labels: 0 new" in labels("import", "again", target, "--labeller", "Vera").stdout
    back = {row.image_sha256: row for row in exported(clinic, "again")}
    assert len(back) == len(rows)
    for row in rows:
        found = back[row.image_sha256]
        assert found.key_points is not None
        assert found.key_points.xy == pytest.approx(row.key_points.xy, abs=1e-6, rel=0)
        assert (found.pixel_aspect, found.labeller) == (row.pixel_aspect, "Vera")
        assert found.vhs == pytest.approx(row.vhs)
        if layout in ("coco", "csv", "label-studio"):
            assert found.subject_id == row.subject_id


@pytest.mark.parametrize("layout", ["manifest", *FORMATS])
def test_an_export_is_had_again_byte_for_byte(
    clinic: Clinic, labels: Callable[..., Result], tmp_path: Path, layout: str
) -> None:
    label_two(clinic)
    told, content = [], []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        told.append(labels("export", "hearts", file_of(folder, layout), "--format", layout).stdout)
        content.append(
            {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
        )
    assert told[0] == told[1]
    assert content[0] == content[1]
    assert content[0]


def test_the_label_studio_export_of_the_service_is_the_librarys(clinic: Clinic) -> None:
    label_two(clinic)
    chunks, digest, count = clinic.export(format=pb.EXPORT_FORMAT_LABEL_STUDIO)
    rows = exported(clinic, "hearts")
    samples = [layouts.Sample(row, *size) for row, size in zip(rows, ((80, 60), (81, 61)), strict=True)]
    assert b"".join(chunks) == layouts.encode(samples, layouts.FileLayout.LABEL_STUDIO)
    assert (digest, count) == (manifest.digest(rows), 2)


def test_labels_keep_whose_they_are(clinic: Clinic, labels: Callable[..., Result], tmp_path: Path) -> None:
    label_two(clinic)
    labels("export", "hearts", tmp_path / "c.csv", "--format", "csv")
    labels("import", "again", tmp_path / "c.csv")
    assert {row.labeller for row in exported(clinic, "again")} == {"Vera"}


def test_images_without_a_label_come_with_the_others(
    clinic: Clinic, labels: Callable[..., Result], tmp_path: Path
) -> None:
    header = "file,subject_id," + ",".join(f"{name}_{axis}" for name in "abcdef" for axis in "xy")
    placed = ",".join(map(str, key_points_from(points()).xy.ravel()))
    lines = [f"0.png,Rex,{placed}", f"1.png,Bella,{',' * 11}", f"2.png,Max,{placed.replace('10.0', '-10.0', 1)}"]
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "labels.csv").write_text("\n".join([header, *lines]))
    done = labels("import", "hearts", tmp_path / "labels.csv")
    assert done.exit_code == 1
    assert "Images: 2 new to hearts, 0 there already. Labels: 1 new." in done.stdout
    assert "2.png: A outside the image" in done.stderr
    assert clinic.lease("anna").image.subject_id == "Bella"
    (row,) = exported(clinic, "hearts")
    assert (row.subject_id, row.labeller) == ("Rex", "labels.csv")


def test_only_what_a_reviewer_saw(clinic: Clinic, labels: Callable[..., Result], tmp_path: Path) -> None:
    label_two(clinic)
    with pytest.raises(errors.FailedPrecondition, match="no reviewed label"):
        labels("export", "hearts", tmp_path / "m.parquet", "--reviewed-only")
    first, _ = clinic("rita", "ListLabels", project="hearts").labels
    clinic("rita", "ReviewLabel", label_id=first.id, approval=pb.Approval())
    assert labels("export", "hearts", tmp_path / "m.parquet", "--reviewed-only").stdout.startswith("1 rows")


def test_what_the_service_refuses_names_the_file(
    clinic: Clinic, labels: Callable[..., Result], tmp_path: Path
) -> None:
    label_two(clinic)
    labels("export", "hearts", tmp_path / "c.csv", "--format", "csv")
    with pytest.raises(errors.InvalidArgument) as refusal:
        labels("import", "again", tmp_path / "c.csv", "--labeller", "x" * 129)
    assert re.fullmatch(r"file://.*: .* must have 1 to 128 characters\.", refusal.value.message)
    assert not clinic("mia", "GetStatistics", project="again").image_count


def test_a_folder_that_holds_something_stays_as_it_is(
    clinic: Clinic, labels: Callable[..., Result], tmp_path: Path
) -> None:
    label_two(clinic)
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "notes").write_bytes(b"mine")
    with pytest.raises(errors.InvalidArgument) as refusal:
        labels("export", "hearts", tmp_path / "yolo", "--format", "yolo")
    assert refusal.value.reason == "FOLDER_NOT_EMPTY"
    assert [one.name for one in (tmp_path / "yolo").iterdir()] == ["notes"]


def test_deletes_a_dog_s_images_when_it_is_sure(clinic: Clinic, labels: Callable[..., Result]) -> None:
    label_two(clinic)
    asked = labels("delete", "hearts", "--subject", "Rex")
    assert asked.exit_code == 1, "nobody said yes"
    assert clinic("mia", "GetStatistics", project="hearts").image_count == 2
    done = labels("delete", "hearts", "--subject", "Rex", "--yes")
    assert done.stdout == "Images deleted: 1.\n"
    assert [row.subject_id for row in exported(clinic, "hearts")] == ["Bella"]
