"""Images on their way in: uploaded, or referenced in the generator's batches."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from canicor import errors, phantom
from canicor.generator.v1 import generator_pb2 as generator
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.labeling.v1 import labeling_pb2 as pb
from tests.clinics import HEIGHT, WIDTH, Clinic, png, token_of
from tests.radiographs import dicom, raster
from tests.servers import Server


def test_images_come_back_whole_or_not_at_all(clinic: Clinic) -> None:
    (image_id,) = clinic.add(1)
    answer = clinic("anna", "GetImage", image_id=image_id)
    assert answer.content == png(0)
    assert (answer.image.width, answer.image.height, answer.image.pixel_aspect) == (WIDTH, HEIGHT, 1.0)
    (stored,) = [path for path in (clinic.folder / "store" / "labeling").rglob("*") if path.is_file()]
    stored.write_bytes(png(1))
    with pytest.raises(errors.DataLoss, match="checksum"):
        clinic("anna", "GetImage", image_id=image_id)
    stored.unlink()
    with pytest.raises(errors.DataLoss, match="gone"):
        clinic("anna", "GetImage", image_id=image_id)
    with pytest.raises(errors.NotFound):
        clinic("anna", "GetImage", image_id="f" * 32)


def test_a_real_radiograph_is_taken_as_it_is(clinic: Clinic) -> None:
    file = Path(__file__).parents[4] / "shared/radiographs/canine-lateral-1.dcm"
    if not file.is_file():
        pytest.skip("no real radiograph beside the repository")
    one = pb.ImportImage(content=file.read_bytes(), subject_id="Rex", origin=pb.ORIGIN_REAL)
    clinic("mia", "ImportImages", project="hearts", images=[one])
    image = clinic.lease("anna").image
    assert (image.width, image.height, image.subject_id, image.origin) == (1612, 1300, "Rex", pb.ORIGIN_REAL)


def test_tall_pixels_count_by_their_height(clinic: Clinic) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = HEIGHT, WIDTH, 1
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelSpacing = [0.4, 0.2]
    dataset.PixelData = np.arange(HEIGHT * WIDTH).astype(np.uint8).tobytes()
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    clinic("mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=file.getvalue())])
    # Half of the 9 vertebrae stand upright and are twice as tall as their pixels tell.
    assert clinic.label("anna", "a1", 9.0).vhs == pytest.approx(13.5)


def test_a_dicom_file_is_kept_without_what_identifies(clinic: Clinic) -> None:
    file = dicom(InstitutionName="Doe clinic", BurnedInAnnotation="YES")
    images = [pb.ImportImage(content=content) for content in (png(0), file)]
    answer = clinic("mia", "ImportImages", project="hearts", images=images)
    (said,) = answer.deidentifications
    assert said.index == 1
    assert {"PatientName (0010,0010)", "InstitutionName (0008,0080)"} <= set(said.removed_attributes)
    assert "(0028,0301)" in said.burned_in_warning
    kept = clinic("anna", "GetImage", image_id=answer.image_ids[1])
    assert hashlib.sha256(kept.content).hexdigest() == kept.image.sha256
    stored = [path.read_bytes() for path in (clinic.folder / "store").rglob("*") if path.is_file()]
    assert kept.content in stored
    assert not any(b"Doe" in content for content in stored)
    again = clinic("mia", "ImportImages", project="hearts", images=images)
    assert (again.added_count, again.known_count) == (0, 2)


def test_a_jpeg_is_kept_without_what_its_camera_and_its_owner_wrote(clinic: Clinic) -> None:
    file = raster(phantom.draw(4, 0, width=512, height=400).pixels, "JPEG", comment="Doe's Rex")
    (said,) = clinic(
        "mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=file)]
    ).deidentifications
    assert list(said.removed_attributes) == ["COM segment"]
    stored = [path.read_bytes() for path in (clinic.folder / "store").rglob("*") if path.is_file()]
    assert stored
    assert not any(b"Doe" in content for content in stored)


def test_text_in_pixels_is_warned_about(clinic: Clinic) -> None:
    film = Image.fromarray(phantom.draw(4, 0, width=512, height=400).pixels).resize((1280, 1000))
    ImageDraw.Draw(film).text((40, 30), "Bello, Schmidt 12.03.2024", fill=255, font=ImageFont.load_default(24))
    file = io.BytesIO()
    film.save(file, "PNG")
    images = [pb.ImportImage(content=content) for content in (png(0), file.getvalue())]
    (said,) = clinic("mia", "ImportImages", project="hearts", images=images).deidentifications
    assert (said.index, list(said.removed_attributes)) == (1, [])
    assert "text" in said.burned_in_warning


@pytest.fixture
def source(serve: Callable, tokens_file: Path) -> Server:
    return serve("generator", CANICOR_TOKENS_FILE=str(tokens_file))


def serve_beside(source: Server, clinic: Clinic, serve: Callable, tokens_file: Path, token: str) -> None:
    """Puts a server in the clinic that imports from a generator."""
    clinic.server.stop()
    clinic.server = serve(
        "labeling",
        CANICOR_TOKENS_FILE=str(tokens_file),
        CANICOR_GENERATOR_ADDRESS=source.address,
        CANICOR_TOKEN=token,
    )


def test_a_generator_that_refuses_the_service_is_named(
    source: Server, clinic: Clinic, serve: Callable, tokens_file: Path
) -> None:
    for token in ("not a token", token_of("carl")):
        serve_beside(source, clinic, serve, tokens_file, token)
        with pytest.raises(errors.FailedPrecondition, match="CANICOR_TOKEN") as refusal:
            clinic("mia", "ImportBatch", project="hearts", batch_id="f" * 32)
        assert refusal.value.reason == "GENERATOR_REFUSES"


def test_a_batch_is_referenced_once(source: Server, clinic: Clinic, serve: Callable, tokens_file: Path) -> None:
    serve_beside(source, clinic, serve, tokens_file, token_of("labeling"))
    making = GeneratorServiceStub(clinic.channel("gus", source))
    batch = making.CreateBatch(
        generator.CreateBatchRequest(
            request_id="b",
            portions=[generator.Portion(count=3)],
            seed=2**64 - 1,
            options=generator.GenerationOptions(width=64, height=64),
        )
    ).batch
    for state in making.WatchBatch(generator.WatchBatchRequest(batch_id=batch.id)):
        last = state.batch
    assert last.state == generator.BATCH_STATE_SUCCEEDED
    first, second = (clinic("mia", "ImportBatch", project="hearts", batch_id=batch.id) for _ in range(2))
    assert (first.added_count, first.known_count) == (3, 0)
    assert (second.added_count, second.known_count) == (0, 3)
    image = clinic.lease("anna").image
    assert (image.origin, image.subject_id) == (pb.ORIGIN_PHANTOM, f"{batch.id}/0")
    assert (image.batch_id, image.batch_index, image.batch_seed) == (batch.id, 0, 2**64 - 1)
    assert hashlib.sha256(clinic("anna", "GetImage", image_id=image.id).content).hexdigest() == image.sha256
    assert not (clinic.folder / "store" / "labeling").exists(), "a generated image is not copied"
    clinic("mia", "DeleteImages", project="hearts", image_ids=[image.id])
    assert making.GetImage(generator.GetImageRequest(batch_id=batch.id)).content, (
        "nor is it the project's to delete"
    )
    with pytest.raises(errors.NotFound) as refusal:
        clinic("mia", "ImportBatch", project="hearts", batch_id="f" * 32)
    assert refusal.value.reason == "NO_SUCH_BATCH"
    source.stop()
    with pytest.raises(errors.Unavailable) as refusal:
        clinic("mia", "ImportBatch", project="hearts", batch_id=batch.id)
    assert refusal.value.reason == "GENERATOR_UNAVAILABLE"
