"""Whatever bytes come: an image or a refusal."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom.data
import pytest

from canicor.errors import CanicorError
from canicor.radiograph import decode
from tests.hostile import intact, mutated
from tests.radiographs import dicom, small


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> dict[str, list[bytes]]:
    return intact(tmp_path_factory.mktemp("gdcm"))


def is_sound_or_refused(data: bytes) -> None:
    for size in (None, small):
        try:
            image = decode(data, size=size)
        except CanicorError:
            continue
        assert image.pixels.min() >= 0
        assert image.pixels.max() <= 1
        assert min(image.height, image.width) >= 32
        assert min(image.pixels.shape) >= (10 if size else 32)


@pytest.mark.parametrize("file_format", ["DICOM", "PNG", "JPEG", "TIFF"])
def test_a_hundred_damaged_files_are_read_or_refused(seeds, file_format, caplog):
    random = np.random.default_rng(20)
    for index in range(100):
        is_sound_or_refused(mutated(seeds[file_format][index % len(seeds[file_format])], random))
    assert not caplog.records


PYDICOM_FILES = sorted(
    path for path in (Path(pydicom.data.__file__).parent / "test_files").iterdir() if path.is_file()
)


@pytest.mark.parametrize("path", PYDICOM_FILES, ids=lambda path: path.name)
def test_files_that_come_with_pydicom_are_read_or_refused(path):
    is_sound_or_refused(path.read_bytes())


def test_warning_filters_survive_decoding_in_many_threads():
    before = list(warnings.filters)
    bad, good = dicom()[:-100], dicom()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(_reason, [bad, good] * 40))
    assert results == ["TRUNCATED", "read"] * 40
    assert warnings.filters == before


def _reason(data: bytes) -> str:
    try:
        decode(data)
    except CanicorError as error:
        return error.reason
    return "read"
