"""What curation finds: `python benchmarks/curation.py [--phantoms N]`.

Clean phantoms of the generator's own size are judged with its defaults, beside a reference of other phantoms; the
share that is flagged is printed, and what for. Then faults are planted, and the share of each is printed that is
flagged as what it is, with 95 % intervals by Wilson. Takes five minutes on one core.
"""

import argparse
import io
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from answers import share
from PIL import Image, ImageFilter

from canicor.model_repository import ModelRepository
from canicor.phantom import Phantom, draw
from canicor.phantom.folder import IMAGES, MANIFEST, Order, write
from canicor.settings import Settings
from canicor.store import file_url
from services.generator.curation import (
    Code,
    Curation,
    CurationSettings,
    Curator,
    JudgedImage,
    reading_model,
)
from services.generator.curation.conclusion import duplicates

CLEAN_SEED, REFERENCE_SEED, FAULTY_SEED = 61, 62, 63
"""Of phantoms that nothing was trained or tuned on."""
WIDTH, HEIGHT = 512, 400
REFERENCE = 200
FAULTY = 50
IMPOSSIBLE_VHS = 19.0

Spoil = Callable[[Image.Image, int], Image.Image]
HEART = frozenset({Code.NO_HEART, Code.UNUSUAL, Code.UNSURE, Code.VHS, Code.ANATOMY})


def blank(image: Image.Image, index: int) -> Image.Image:
    return Image.new("L", image.size, 40 + 3 * index)


def blurred(image: Image.Image, index: int) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(3))


def overexposed(image: Image.Image, index: int) -> Image.Image:
    return image.point(lambda level: min(255, 4 * level))


def noise(image: Image.Image, index: int) -> Image.Image:
    levels = np.random.default_rng(index).integers(0, 256, (image.height, image.width), np.uint8)
    return Image.fromarray(levels)


def upside_down(image: Image.Image, index: int) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def itself(image: Image.Image, index: int) -> Image.Image:
    return image


def mirrored(image: Image.Image, index: int) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def shifted(image: Image.Image, index: int) -> Image.Image:
    """By up to 12 pixels either way, compressed anew."""
    across, down = np.random.default_rng(index).integers(-12, 13, 2).tolist()
    moved = Image.new("L", image.size)
    moved.paste(image, (across, down))
    file = io.BytesIO()
    moved.save(file, "JPEG", quality=60)
    return Image.open(file).convert("L")


FAULTS: Mapping[str, tuple[Spoil, frozenset[Code]]] = {
    "blank": (blank, frozenset({Code.EMPTY})),
    "blurred by 3 pixels": (blurred, frozenset({Code.BLURRED})),
    "overexposed": (overexposed, frozenset({Code.EXPOSURE, Code.CLIPPED})),
    "noise": (noise, HEART),
    "upside down": (upside_down, HEART),
}
COPIES: Mapping[str, Spoil] = {
    "the same": itself,
    "mirrored": mirrored,
    "shifted and compressed anew": shifted,
    "blurred": blurred,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what curation finds.")
    parser.add_argument("--phantoms", type=int, default=1000, help="clean ones; default: %(default)s")
    count = parser.parse_args().phantoms
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        order = Order(REFERENCE_SEED, size=(WIDTH, HEIGHT))
        write(folder, REFERENCE, order, lambda: None)
        measure(curator_beside(folder), [Image.open(file) for file in sorted((folder / IMAGES).iterdir())], count)


def measure(curator: Curator, reference: list[Image.Image], count: int) -> None:
    clean = [png(image(one)) for one in drawn(CLEAN_SEED, count)]
    began = time.perf_counter()
    examined = [curator.examine(content) for content in clean]
    milliseconds = 1000 * (time.perf_counter() - began) / count
    found = [{finding.code for finding in one.findings} for one in examined]
    print(f"{count} clean phantoms beside {REFERENCE} others; {milliseconds:.0f} ms an image")
    print(share("flagged", [bool(codes) for codes in found]))
    for code, times in Counter(code for codes in found for code in codes).most_common():
        print(f"  {code}: {times}")
    judged = [JudgedImage(index, "", one.fingerprint, ()) for index, one in enumerate(examined)]
    bits = CurationSettings().curation_duplicate_bits
    twins = duplicates(judged, bits)
    print(share("taken for duplicates", [index in twins for index in range(count)]))
    print("Planted, and flagged as what they are:")
    for name, (spoil, codes) in FAULTS.items():
        spoilt = [spoil(image(one), index) for index, one in enumerate(drawn(FAULTY_SEED, FAULTY))]
        print(f"  {share(name, [flagged(curator, one, codes) for one in spoilt])}")
    large = [
        image(draw(FAULTY_SEED, index, width=WIDTH, height=HEIGHT, vhs=IMPOSSIBLE_VHS)) for index in range(FAULTY)
    ]
    print(f"  {share(f'a VHS of {IMPOSSIBLE_VHS:g}', [flagged(curator, one, HEART) for one in large])}")
    for name, copy in COPIES.items():
        copies = [copy(one, index) for index, one in enumerate(reference[:FAULTY])]
        hits = [flagged(curator, one, frozenset({Code.COPY})) for one in copies]
        print(f"  {share(f'copy of the reference, {name}', hits)}")
    pairs = [picture for content in clean[:FAULTY] for picture in (content, png(compressed_anew(content)))]
    judged = [JudgedImage(index, "", curator.examine(one).fingerprint, ()) for index, one in enumerate(pairs)]
    twins = duplicates(judged, bits)
    second = [index in twins for index in range(1, len(pairs), 2)]
    print(f"  {share('duplicate within the batch, compressed anew', second)}")


def drawn(seed: int, count: int) -> Iterator[Phantom]:
    return (draw(seed, index, width=WIDTH, height=HEIGHT) for index in range(count))


def image(phantom: Phantom) -> Image.Image:
    return Image.fromarray(phantom.pixels)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def compressed_anew(content: bytes) -> Image.Image:
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).save(file, "JPEG", quality=60)
    return Image.open(file).convert("L")


def flagged(curator: Curator, picture: Image.Image, codes: frozenset[Code]) -> bool:
    return bool(codes & {finding.code for finding in curator.examine(png(picture)).findings})


def curator_beside(reference: Path) -> Curator:
    """Returns a curator by the generator's defaults, beside the phantoms of a folder."""
    settings = Settings()
    limits = CurationSettings(curation_reference=str(reference / MANIFEST))
    model = reading_model(limits.curation_model, ModelRepository.of(settings))
    return Curator(Curation(limits, model, settings.models, settings.shipped_model, file_url(reference)))


if __name__ == "__main__":
    main()
