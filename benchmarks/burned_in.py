"""What an import warns of as burned-in text: `python benchmarks/burned_in.py [COUNT]`.

COUNT phantoms, 200 by default, of 1536 x 1200 pixels: as they are, and with a line of text drawn anywhere
on them, white on four of five and black on the others, in several sizes, losslessly and as JPEG of quality
85. And the real radiographs beside the repository, which have no text in them, where they are there. Printed is
how many are warned of, with 95 % intervals, and what a look takes.
"""

import io
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import binomtest

from canicor import phantom, radiograph
from services.labeling.burned_in import shows_text

SEED = 9
TEXT = "Bello, Schmidt 12.03.2024"
SIZES = (12, 20, 32, 48)
FORMATS = ("PNG", "JPEG")
REAL = Path(__file__).parents[2] / "shared/radiographs"


def film(index: int) -> Image.Image:
    return Image.fromarray(phantom.draw(SEED, index, width=512, height=400).pixels).resize((1536, 1200))


def written_on(image: Image.Image, size: int, random: np.random.Generator) -> Image.Image:
    written = image.copy()
    where = int(random.integers(0, 900)), int(random.integers(0, 1130))
    grey = 255 if random.random() < 0.8 else 0
    ImageDraw.Draw(written).text(where, TEXT, fill=grey, font=ImageFont.load_default(size))
    return written


def read(image: Image.Image, file_format: str) -> radiograph.Radiograph:
    file = io.BytesIO()
    image.save(file, file_format, quality=85)
    return radiograph.decode(file.getvalue())


def tell(what: str, warned: list[bool]) -> None:
    interval = binomtest(sum(warned), len(warned)).proportion_ci(method="wilson")
    print(
        f"{what}: {100 * np.mean(warned):.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})",
        flush=True,
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    random = np.random.default_rng(SEED)
    films = [film(index) for index in range(count)]
    plain = [read(one, "PNG") for one in films]
    start = time.perf_counter()
    tell(f"{count} phantoms", [shows_text(one) for one in plain])
    print(f"a look at 1536 x 1200 takes {1000 * (time.perf_counter() - start) / count:.0f} ms")
    real = [*REAL.glob("canine-lateral-*"), *(REAL / "thumbnails").glob("*")]
    if real:
        tell(f"{len(real)} real radiographs", [shows_text(radiograph.decode(one.read_bytes())) for one in real])
    for size in SIZES:
        for file_format in FORMATS:
            warned = [shows_text(read(written_on(one, size, random), file_format)) for one in films]
            tell(f"with letters of {size} pixels, {file_format}", warned)


if __name__ == "__main__":
    main()
