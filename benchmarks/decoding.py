"""Decoding a 2000 x 2500 radiograph for a 600 x 600 input, one thread: `python benchmarks/decoding.py`.

Beside it, in turns, the same with Pillow alone, respectively pydicom and Pillow: whole image decoded, windowed,
resized by the same filter. Times are of the core, which other load on the machine changes less; the differences
are in grey levels of 255. A phantom stands in where there is no radiograph beside the repository
(../shared/radiographs).
"""

import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from canicor.model_input import ResizeRule, read
from canicor.phantom import draw
from canicor.radiograph import decode

REAL = Path(__file__).parents[2] / "shared" / "radiographs" / "canine-lateral-1.dcm"
HEIGHT, WIDTH, SIDE = 2000, 2500, 600
# Rows, columns of a 2000 x 2500 radiograph in the input.
SIZES = {ResizeRule.STRETCH: (600, 600), ResizeRule.LETTERBOX: (480, 600)}
# Beside what the phantom and an enlarged radiograph have: quantum noise, in grey levels of 255.
NOISE = 2.0
# Name: (window centre, window width) in 12 bits, None for none.
WINDOWS = {"no window": None, "all in the window": (2048, 4096), "window clips both ends": (1800, 1600)}
ROUNDS = 31


def twelve_bit() -> NDArray[np.uint16]:
    """Returns a radiograph [2000, 2500] with noise in 0..4095."""
    grey = decode(REAL.read_bytes()).pixels if REAL.exists() else draw(0, 0, width=1024, height=819).pixels
    grey = np.asarray(grey, dtype=np.float32)
    whole = np.asarray(Image.fromarray(grey / grey.max()).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).normal(0, NOISE / 255, whole.shape)
    return np.rint(np.clip(whole + noise, 0, 1) * 4095).astype(np.uint16)


def jpeg(pixels: NDArray[np.uint16], quality: int, mode: str = "L") -> bytes:
    file = BytesIO()
    Image.fromarray((pixels >> 4).astype(np.uint8)).convert(mode).save(file, "JPEG", quality=quality)
    return file.getvalue()


def dicom(pixels: NDArray[np.uint16], window: tuple[int, int] | None) -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    made.Modality, made.PhotometricInterpretation = "DX", "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PixelRepresentation = 1, 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    if window:
        made.WindowCenter, made.WindowWidth = window
    made.PixelData = pixels.astype("<u2").tobytes()
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def by_pillow(data: bytes, rule: ResizeRule) -> NDArray[np.uint8]:
    rows, columns = SIZES[rule]
    return np.asarray(Image.open(BytesIO(data)).convert("L").resize((columns, rows), Image.Resampling.BILINEAR))


def by_pydicom(data: bytes, rule: ResizeRule) -> NDArray[np.uint8]:
    """The straight way in float32, which is faster than pydicom's own windowing in float64."""
    dataset = pydicom.dcmread(BytesIO(data))
    values = dataset.pixel_array.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if "WindowCenter" in dataset:
        center, width = float(dataset.WindowCenter) - 0.5, float(dataset.WindowWidth) - 1
        low, high = center - width / 2, center + width / 2
    shown = np.clip((values - low) / (high - low), 0, 1)
    rows, columns = SIZES[rule]
    small = Image.fromarray(shown).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.rint(np.asarray(small) * 255).astype(np.uint8)


def by_pydicom_itself(data: bytes, rule: ResizeRule) -> NDArray[np.uint8]:
    """With pydicom's own functions for LUT and window."""
    dataset = pydicom.dcmread(BytesIO(data))
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = (0.0, 4095.0) if "WindowCenter" in dataset else (float(values.min()), float(values.max()))
    rows, columns = SIZES[rule]
    grey = Image.fromarray(((values - low) / (high - low)).astype(np.float32))
    return np.rint(np.asarray(grey.resize((columns, rows), Image.Resampling.BILINEAR)) * 255).astype(np.uint8)


def by_canicor(data: bytes, rule: ResizeRule) -> NDArray[np.uint8]:
    return read(data, SIDE, SIDE, rule).pixels


def entropy_decoded(data: bytes) -> None:
    """What libjpeg-turbo can't do without at any scale: at its smallest it does little else."""
    image = Image.open(BytesIO(data))
    image.draft(None, (WIDTH // 8, HEIGHT // 8))
    image.load()


def milliseconds(works: list[Callable[[], object]]) -> list[float]:
    """Returns the median of each; they run in turns, so that other load on the machine meets all."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, taken, strict=True):
            start = time.thread_time()
            work()
            times.append(time.thread_time() - start)
    return [1000 * float(np.median(times)) for times in taken]


def compare(name: str, data: bytes, peers: dict[str, Callable[[bytes, ResizeRule], NDArray[np.uint8]]]) -> None:
    for rule, (rows, columns) in SIZES.items():
        top, left = (SIDE - rows) // 2, (SIDE - columns) // 2
        ours = by_canicor(data, rule)[top : top + rows, left : left + columns].astype(np.int16)
        works = [partial(decoder, data, rule) for decoder in (by_canicor, *peers.values())]
        own, *others = milliseconds(works)
        for (peer, decoder), taken in zip(peers.items(), others, strict=True):
            difference = np.abs(decoder(data, rule) - ours)
            print(
                f"{name}, {rule}: {own:.1f} ms; {peer} {taken:.1f} ms, {taken / own:.2f} times; "
                f"difference mean {difference.mean():.2f}, largest {difference.max()}"
            )


def main() -> None:
    pixels = twelve_bit()
    for quality in (75, 85, 95):
        data = jpeg(pixels, quality)
        compare(f"JPEG of quality {quality} ({len(data) / 1e6:.2f} MB)", data, {"Pillow": by_pillow})
        (floor,) = milliseconds([partial(entropy_decoded, data)])
        print(f"  of which entropy decoding, which every decoder built on libjpeg-turbo shares: {floor:.1f} ms")
    compare("JPEG of quality 85 in YCbCr", jpeg(pixels, 85, "RGB"), {"Pillow": by_pillow})
    for name, window in WINDOWS.items():
        peers = {"pydicom + Pillow": by_pydicom, "pydicom's window + Pillow": by_pydicom_itself}
        compare(f"DICOM of 16 bits, {name}", dicom(pixels, window), peers)


if __name__ == "__main__":
    main()
