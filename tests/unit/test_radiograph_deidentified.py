"""What is left of a DICOM file that says no longer who is on it, for an eye and for other programs."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, uid
from pydicom.sequence import Sequence

from canicor.errors import InvalidArgument
from canicor.radiograph import decode, deidentified
from tests.radiographs import TWELVE_BIT, by_gdcm, compressed, dataset, dicom, jpeg_baseline, lut, written

SECRETS = {
    "PatientName": "Bello^Schmidt",
    "PatientID": "chip 276098102345678",
    "PatientBirthDate": "20190412",
    "ResponsiblePerson": "Schmidt^Erika",
    "InstitutionName": "Tierklinik Secretville",
    "InstitutionAddress": "1 Secret Street",
    "ReferringPhysicianName": "Dr. Secret",
    "StudyDate": "20240312",
    "StudyDescription": "Secret cough",
    "AccessionNumber": "SECRET-77",
    "DeviceSerialNumber": "SN-SECRET",
    "ImageComments": "belongs to Secret",
}


def identified(**elements) -> Dataset:
    made = dataset(TWELVE_BIT, **SECRETS, **elements)
    made.preamble = b"SECRET PREAMBLE ".ljust(128, b"\0")
    made.file_meta.SourceApplicationEntityTitle = "SECRET_AE"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.3"
    private = made.private_block(0x0009, "SECRET VENDOR", create=True)
    private.add_new(0x01, "LO", "Secret owner")
    request = Dataset()
    request.RequestedProcedureDescription = "Secret nested"
    made.RequestAttributesSequence = Sequence([request])
    made.add_new(0x60003000, "OW", b"SECRET OVERLAY")
    return made


def shown(content: bytes) -> str:
    return content.decode("latin-1").lower()


def test_nothing_that_identifies_is_left() -> None:
    file = deidentified(written(identified()))
    for secret in ("secret", "schmidt", "bello", "276098102345678", "20190412", "20240312"):
        assert secret not in shown(file.content)
    left = pydicom.dcmread(io.BytesIO(file.content))
    assert not list(left.group_dataset(0x0009)), "private attributes go"
    assert not list(left.group_dataset(0x6000)), "overlays may be drawn text"
    assert left.PatientIdentityRemoved == "YES"
    assert left.DeidentificationMethod


def test_what_was_taken_out_is_listed() -> None:
    removed = deidentified(written(identified())).removed
    for attribute in (
        "PatientName (0010,0010)",
        "InstitutionName (0008,0080)",
        "ResponsiblePerson (0010,2297)",
        "RequestAttributesSequence (0040,0275)",
        "SourceApplicationEntityTitle (0002,0016)",
        "Private (0009,1001)",
        "SOPInstanceUID (0008,0018)",
    ):
        assert attribute in removed
    assert not any("PixelData" in one or "Rows" in one or "Modality" in one for one in removed)
    assert list(removed) == sorted(set(removed), key=lambda one: one[-10:])


def test_no_uid_leads_back() -> None:
    before = pydicom.dcmread(io.BytesIO(written(identified())))
    after = pydicom.dcmread(io.BytesIO(deidentified(written(identified())).content))
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert after[keyword].value != before[keyword].value
        assert after[keyword].value.is_valid
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID


def test_the_same_file_becomes_the_same_and_then_stays() -> None:
    once = deidentified(written(identified()))
    assert deidentified(written(identified())).content == once.content
    again = deidentified(once.content)
    assert (again.content, again.removed) == (once.content, ())


def tables() -> dict:
    return {"ModalityLUTSequence": Sequence(lut(4096, 0, 16, list(range(0, 65536, 16))))}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(written(identified()), id="explicit little endian"),
        pytest.param(dicom(syntax=uid.ImplicitVRLittleEndian), id="implicit"),
        pytest.param(dicom(syntax=uid.DeflatedExplicitVRLittleEndian), id="deflated"),
        pytest.param(written(identified(WindowCenter=900, WindowWidth=700)), id="window"),
        pytest.param(written(identified(PixelSpacing=[0.2, 0.1])), id="spacing"),
        pytest.param(written(identified(PhotometricInterpretation="MONOCHROME1")), id="inverted"),
        pytest.param(written(identified(**tables())), id="modality LUT"),
        pytest.param(compressed(uid.RLELossless, "pydicom"), id="RLE"),
        pytest.param(jpeg_baseline(), id="JPEG"),
    ],
)
def test_it_looks_as_before(data: bytes) -> None:
    before, after = decode(data), decode(deidentified(data).content)
    assert np.array_equal(before.levels, after.levels)
    assert (before.pixel_aspect, before.pixel_spacing) == (after.pixel_aspect, after.pixel_spacing)


def test_lossless_jpeg_stays_readable(tmp_path: Path) -> None:
    data = by_gdcm(tmp_path, 14)
    assert np.array_equal(decode(data).levels, decode(deidentified(data).content).levels)


def test_explanations_of_tables_go() -> None:
    made = identified(**tables())
    made.ModalityLUTSequence[0].LUTExplanation = "Secret table"
    file = deidentified(written(made))
    assert "secret" not in shown(file.content)
    assert "LUTExplanation (0028,3003)" in file.removed


def test_a_bare_data_set_becomes_a_whole_file() -> None:
    made = identified()
    del made.file_meta, made.SOPClassUID
    bare = io.BytesIO()
    made.save_as(bare, implicit_vr=True, little_endian=True)
    file = deidentified(bare.getvalue())
    assert pydicom.dcmread(io.BytesIO(file.content)).SOPClassUID == uid.SecondaryCaptureImageStorage
    assert np.array_equal(decode(file.content).levels, decode(bare.getvalue()).levels)


@pytest.mark.parametrize(("stated", "told"), [("YES", True), ("NO", False), (None, False)])
def test_whether_pixels_identify_is_as_the_file_states(stated: str | None, told: bool) -> None:
    elements = {} if stated is None else {"BurnedInAnnotation": stated}
    assert deidentified(dicom(**elements)).states_burned_in is told


def test_a_damaged_file_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        deidentified(dicom()[:300])
