"""A folder of phantoms: images, a dataset manifest, and a line of truth for each."""

import hashlib
import io
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from canicor.memory import FILMS, keep_freed_memory
from canicor.phantom.phantom import Phantom, draw
from canicor.phantom.wishes import Wishes
from canicor.vhs import heart_size

MANIFEST, TRUTH, IMAGES = "manifest.parquet", "truth.jsonl", "images"

_SHORTEST, _LONGEST = 500, 3000
_ASPECTS = (1.1, 1.5)
_DICOM_BITS = (10, 14)

# A phantom was taken by nobody on no day; DICOM wants one.
_DATE = date(2000, 1, 1)


class ImageFormat(StrEnum):
    """How images are written."""

    PNG = "png"
    DICOM = "dicom"


@dataclass(frozen=True)
class Order:
    """What to draw.

    Attributes:
        seed: Of the batch.
        image_format: PNG of 8 bits, or DICOM of 10 to 14.
        size: (width, height) in pixels; without it, 500 to 3000 pixels wide, drawn for each.
        wishes: What else `canicor.phantom.draw` takes.
    """

    seed: int = 0
    image_format: ImageFormat = ImageFormat.PNG
    size: tuple[int, int] | None = None
    wishes: Wishes = field(default_factory=Wishes)


def write(folder: Path, count: int, order: Order, written: Callable[[], None]) -> None:
    """Writes phantoms 0 to `count` - 1 of a batch into a folder, on all cores.

    Args:
        folder: Made where it does not exist; files of the same name are written over.
        count: How many.
        order: What to draw.
        written: Is called after each.

    Raises:
        InvalidArgument: See `canicor.phantom.draw`.
        OSError: The folder can't be written.
    """
    # Only here, since all else in canicor.phantom does without pyarrow.
    from canicor import manifest

    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    rows = []
    # A fork of a program that has threads, such as PyTorch's, may wait for one that is not there.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(os.cpu_count(), spawn, keep_freed_memory, (FILMS,))
    with pool as workers, (folder / TRUTH).open("w") as truth:
        for index, (name, sha256, phantom) in enumerate(
            workers.map(partial(_write_one, folder, order), range(count))
        ):
            rows.append(
                manifest.Row(
                    image_url=(folder / IMAGES / name).resolve().as_uri(),
                    image_sha256=sha256,
                    origin=manifest.Origin.PHANTOM,
                    batch_id=f"phantom-{order.seed}",
                    batch_index=index,
                    batch_seed=order.seed,
                    subject_id=f"phantom-{order.seed}-{index}",
                    split="",
                    key_points=phantom.key_points,
                    pixel_aspect=1.0,
                    vhs=phantom.vhs,
                    heart_size=heart_size(phantom.vhs),
                    labeller="phantom",
                    review_state="approved",
                )
            )
            line = {
                "image": f"{IMAGES}/{name}",
                "key_points": phantom.key_points.xy.tolist(),
                "vhs": phantom.vhs,
                "breed": phantom.breed,
                "view": phantom.view,
                "parameters": phantom.parameters,
            }
            truth.write(json.dumps(line) + "\n")
            written()
    (folder / MANIFEST).write_bytes(manifest.write(rows))


def _write_one(folder: Path, order: Order, index: int) -> tuple[str, str, Phantom]:
    rng = np.random.default_rng([order.seed, index])
    width = round(_SHORTEST * (_LONGEST / _SHORTEST) ** rng.random())
    size = order.size or (width, round(width / rng.uniform(*_ASPECTS)))
    bits = int(rng.integers(*_DICOM_BITS, endpoint=True)) if order.image_format is ImageFormat.DICOM else 8
    phantom = draw(order.seed, index, width=size[0], height=size[1], bits=bits, **order.wishes)
    if order.image_format is ImageFormat.DICOM:
        name, content = f"{index:06}.dcm", _dicom(phantom, order.seed, index, bits, inverted=rng.random() < 0.3)
    else:
        name, content = f"{index:06}.png", _png(phantom)
    (folder / IMAGES / name).write_bytes(content)
    # The pixels stay here: between processes only the truth travels.
    without = replace(phantom, pixels=np.empty((0, 0), np.uint8), masks={})
    return name, hashlib.sha256(content).hexdigest(), without


def _png(phantom: Phantom) -> bytes:
    file = io.BytesIO()
    Image.fromarray(phantom.pixels).save(file, "PNG")
    return file.getvalue()


def _dicom(phantom: Phantom, seed: int, index: int, bits: int, *, inverted: bool) -> bytes:
    """A Digital X-Ray image for presentation (DICOM PS3.3 A.26), as a clinic's machine writes it."""
    identity = f"canicor phantom {seed} {index}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[identity, "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(io.BytesIO(), Dataset(), preamble=b"\0" * 128, file_meta=meta)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = generate_uid(entropy_srcs=[identity, "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[identity, "series"])
    data.StudyDate = data.ContentDate = _DATE.strftime("%Y%m%d")
    data.StudyTime = data.ContentTime = "000000"
    data.PatientName, data.PatientID = f"PHANTOM^{index}", f"phantom-{seed}-{index}"
    data.PatientSpeciesDescription = "Canis lupus familiaris"
    data.ImageComments = "Procedural phantom, not canine; not for diagnosis"
    data.Manufacturer = "Canicor"
    data.Modality, data.PresentationIntentType = "DX", "FOR PRESENTATION"
    data.BodyPartExamined = "CHEST"
    data.ViewPosition = phantom.view
    head = "H" if not phantom.parameters["mirrored"] else "T"
    data.PatientOrientation = ["T" if head == "H" else "H", "V"]
    data.ImageLaterality = "U"
    data.SeriesNumber = data.InstanceNumber = 1
    pixels = phantom.pixels
    data.Rows, data.Columns = pixels.shape
    points = phantom.key_points.xy
    spacing = 10.0 * phantom.parameters["vertebra_cm"] * 6.0 / float(np.hypot(*(points[5] - points[4])))
    data.ImagerPixelSpacing = [f"{spacing:.6f}"] * 2
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    data.WindowCenter, data.WindowWidth = 2 ** (bits - 1), 2**bits
    data.PixelData = ((2**bits - 1 - pixels) if inverted else pixels).astype("<u2").tobytes()
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()
