"""Decoders: real processes, and files that end them."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from canicor.bundle import InputSpec
from canicor.errors import CanicorError, DeadlineExceeded, InvalidArgument
from canicor.model_input import Prepared, ResizeRule, read
from canicor.radiograph import Codecs, Unbounded
from services.classifier.decoding import Decoders
from tests import radiographs
from tests.radiographs import (
    EIGHT_BIT,
    TWELVE_BIT,
    by_gdcm,
    compressed,
    dicom,
    gdcm,
    jpeg_baseline,
    raster,
    written,
)

SPEC = InputSpec(height=40, width=50, resize=ResizeRule.LETTERBOX)
PATIENCE = 60.0


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders(1)
    yield made
    made.close()


def here(data: bytes) -> Prepared:
    return read(data, SPEC.height, SPEC.width, SPEC.resize)


def reason(decoders: Decoders, data: bytes) -> str:
    with pytest.raises(InvalidArgument) as caught:
        decoders.read(data, SPEC, PATIENCE)
    assert caught.value.field == "image"
    return caught.value.reason


def is_read(decoders: Decoders, data: bytes) -> bool:
    return bool((decoders.read(data, SPEC, PATIENCE).pixels == here(data).pixels).all())


def endless_jpeg() -> bytes:
    """A progressive JPEG whose last scan, 30 bytes for a million pixels, is there a hundred thousand times."""
    picture = np.full((1000, 1000), 128, np.uint8)
    picture[:8] = 0
    data = raster(picture, "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 100_000 + data[-2:]


def aborting_dicom(folder: Path) -> bytes:
    data = by_gdcm(folder, gdcm.TransferSyntax.JPEGExtendedProcess2_4, lossy=True)
    return data.replace(b"\xff\xd8\xff\xdb", b"\xff\xd8\x66\xdb")


def rle_bomb() -> bytes:
    """Two segments of 3 kB each that inflate to 1.3 GB each."""
    made = radiographs.dataset(TWELVE_BIT, syntax=uid.RLELossless)
    segment = b"\x81\0" * 10_000_000
    header = np.array([2, 64, 64 + len(segment)] + [0] * 13, "<u4").tobytes()
    made.PixelData = encapsulate([header + 2 * segment])
    made["PixelData"].is_undefined_length = True
    return written(made)


KINDS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: raster(EIGHT_BIT, "PNG"),
    "TIFF": lambda: raster(TWELVE_BIT, "TIFF"),
    "JPEG": lambda: raster(EIGHT_BIT, "JPEG"),
    "progressive JPEG": lambda: raster(EIGHT_BIT, "JPEG", progressive=True),
    "uncompressed": lambda: dicom(PixelSpacing=[0.2, 0.1], ViewPosition="LL"),
    "deflated": lambda: dicom(syntax=uid.DeflatedExplicitVRLittleEndian, PixelSpacing=[0.2, 0.1]),
    "RLE": lambda: compressed(uid.RLELossless, "pydicom"),
    "JPEG-LS": lambda: compressed(uid.JPEGLSLossless, "pyjpegls"),
    "JPEG 2000": lambda: compressed(uid.JPEG2000Lossless, "pylibjpeg"),
    "JPEG in DICOM": jpeg_baseline,
}


@pytest.mark.parametrize("kind", KINDS)
def test_says_what_decoding_here_says(decoders: Decoders, kind: str) -> None:
    data = KINDS[kind]()
    found, expected = decoders.read(data, SPEC, PATIENCE), here(data)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    for name in ("placement", "received", "pixel_aspect", "view"):
        assert getattr(found, name) == getattr(expected, name)


@pytest.mark.parametrize("lossy", [True, False])
def test_says_what_gdcm_says_in_a_process_of_its_own(decoders: Decoders, tmp_path: Path, lossy: bool) -> None:
    extended, lossless = gdcm.TransferSyntax.JPEGExtendedProcess2_4, gdcm.TransferSyntax.JPEGLosslessProcess14_1
    assert is_read(decoders, by_gdcm(tmp_path, extended if lossy else lossless, lossy=lossy))


@pytest.mark.parametrize(
    "data",
    [b"", b"no image", raster(EIGHT_BIT[:20], "PNG"), dicom(Modality="CT")[:-5], raster(EIGHT_BIT, "PNG")[:90]],
)
def test_refuses_as_decoding_here_does(decoders: Decoders, data: bytes) -> None:
    with pytest.raises(CanicorError) as expected:
        here(data)
    with pytest.raises(CanicorError) as found:
        decoders.read(data, SPEC, PATIENCE)
    assert type(found.value) is type(expected.value)
    assert vars(found.value) == vars(expected.value)


def test_goes_on_after_a_file_that_aborts_its_decoder(decoders: Decoders, tmp_path: Path) -> None:
    for _ in range(3):
        assert reason(decoders, aborting_dicom(tmp_path)) == "DECODER_FAILED"
        assert is_read(decoders, KINDS["PNG"]())


@pytest.mark.parametrize("make", [endless_jpeg, rle_bomb])
def test_goes_on_after_a_file_that_would_keep_its_decoder_busy(
    decoders: Decoders, make: Callable[[], bytes]
) -> None:
    assert reason(decoders, make()) == "DECODER_FAILED"
    assert is_read(decoders, KINDS["PNG"]())


def test_gives_up_when_the_caller_does(decoders: Decoders) -> None:
    assert is_read(decoders, KINDS["PNG"]())
    with pytest.raises(DeadlineExceeded):
        decoders.read(endless_jpeg(), SPEC, 0.2)
    with pytest.raises(DeadlineExceeded):
        decoders.read(KINDS["PNG"](), SPEC, 0.0)
    assert is_read(decoders, KINDS["PNG"]())


def children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(one) for task in tasks for one in (task / "children").read_text().split()]


def forking_program() -> int:
    (program,) = [one for one in children(os.getpid()) if "decoder" in Path(f"/proc/{one}/cmdline").read_text()]
    return program


def test_decoders_know_none_of_the_servers_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANICOR_TOKEN", "secret")
    made = Decoders(1)
    assert is_read(made, KINDS["PNG"]())
    assert b"secret" not in Path(f"/proc/{forking_program()}/environ").read_bytes()
    made.close()


@pytest.mark.parametrize("which", ["decoder", "what forks it", "both"])
def test_survives_the_death_of_its_processes(decoders: Decoders, which: str) -> None:
    assert is_read(decoders, KINDS["PNG"]())
    program = forking_program()
    (decoder,) = children(program)
    if which != "what forks it":
        os.kill(decoder, signal.SIGKILL)
    if which != "decoder":
        os.kill(program, signal.SIGKILL)
    # One that died with no file in its hands is not held against the next file but once.
    assert is_read(decoders, KINDS["TIFF"]())
    assert is_read(decoders, KINDS["PNG"]())


def test_many_threads_each_get_their_own_answer(tmp_path: Path) -> None:
    decoders = Decoders(2)
    pictures = [raster(np.roll(EIGHT_BIT, shift, axis=1), "PNG") for shift in range(20)]
    aborting = aborting_dicom(tmp_path)

    def right(index: int) -> bool:
        if index % 7 == 0:
            return reason(decoders, aborting) == "DECODER_FAILED"
        return is_read(decoders, pictures[index % 20])

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(right, range(120)))
    decoders.close()


# --- what is read in the caller's own thread ---


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_bounded_work_is_read_here(kind: str) -> None:
    data = KINDS[kind]()
    if kind in ("JPEG", "uncompressed"):
        read(data, SPEC.height, SPEC.width, SPEC.resize, codecs=Codecs.BOUNDED)
        return
    with pytest.raises(Unbounded):
        read(data, SPEC.height, SPEC.width, SPEC.resize, codecs=Codecs.BOUNDED)


def many_elements() -> bytes:
    """Half a million private elements before the pixels."""
    made = dicom()
    start = made.index(b"\x28\0\x02\0US")
    elements = b"".join(b"\x09\0" + number.to_bytes(2, "little") + b"LO\0\0" for number in range(0x1010, 0xFFFF))
    return made[:start] + elements * 10 + made[start:]


HEAVY_HEADERS = {
    "elements": many_elements,
    "nested sequences": lambda: dicom().replace(
        b"\x28\0\x02\0US",
        (b"\x09\0\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff") * 5000 + b"\x28\0\x02\0US",
    ),
    "segments": lambda: b"\xff\xd8" + b"\xff\xe5\0\2" * 1_000_000 + raster(EIGHT_BIT, "JPEG")[2:],
    "padding": lambda: b"\xff\xd8" + b"\xff" * 5_000_000 + raster(EIGHT_BIT, "JPEG")[2:],
}


@pytest.mark.parametrize("kind", HEAVY_HEADERS)
def test_a_heavy_header_is_not_read_here(kind: str) -> None:
    with pytest.raises(Unbounded):
        read(HEAVY_HEADERS[kind](), SPEC.height, SPEC.width, SPEC.resize, codecs=Codecs.BOUNDED)
