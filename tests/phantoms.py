"""Phantoms with their exact labels, as a manifest has them."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from canicor import manifest, phantom
from canicor.manifest import Origin, Row
from canicor.store import Store, file_url
from canicor.vhs import HEART_SIZES, heart_size


def labelled_phantoms(folder: Path, count: int) -> list[Row]:
    """Draws them, 160 x 128, the three classes in turn; each is a dog of its own, in no split yet."""
    store = Store(file_url(folder))
    made = []
    for index in range(count):
        drawn = phantom.draw(5, index, heart_size=HEART_SIZES[index % 3], width=160, height=128)
        buffer = io.BytesIO()
        Image.fromarray(drawn.pixels).save(buffer, "PNG")
        store.put(f"{index}.png", buffer.getvalue())
        made.append(
            Row(
                image_url=store.url(f"{index}.png"),
                image_sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
                origin=Origin.PHANTOM,
                batch_id="batch",
                batch_index=index,
                batch_seed=5,
                subject_id=f"batch-{index}",
                split="",
                key_points=drawn.key_points,
                pixel_aspect=1.0,
                vhs=drawn.vhs,
                heart_size=heart_size(drawn.vhs),
                labeller="phantom",
                review_state="approved",
            )
        )
    return made


def write_manifest(folder: Path, rows: list[Row]) -> Path:
    path = folder / "manifest.parquet"
    path.write_bytes(manifest.write(rows))
    return path
