"""Labelled phantoms, as the rows of a manifest."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from canicor import phantom
from canicor.manifest import Origin, Row
from canicor.store import Store, file_url
from canicor.vhs import HEART_SIZES, heart_size


def phantom_rows(folder: Path, count: int, seed: int = 5) -> list[Row]:
    """Draws phantoms of 160 x 128 into a folder, each class in turn; each is a dog of its own and in no split."""
    store, made = Store(file_url(folder)), []
    for index in range(count):
        drawn = phantom.draw(seed, index, heart_size=HEART_SIZES[index % 3], width=160, height=128)
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
                batch_seed=seed,
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
