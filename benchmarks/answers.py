"""What a key-point model's answers are worth: `python benchmarks/answers.py [NAME[/VERSION]]`.

On phantoms that no training has seen: VHS error and class accuracy, how often the truth lies in the interval and
in the prediction set (the bundle states how often it should), and which reasons to refer are given. On pictures
that are no lateral thorax, and on the real thumbnails of ../shared/radiographs: how many are referred. Doubt about
the picture is any reason but that a class is near a threshold. 95 % intervals: of means by bootstrap, of shares by
Wilson.
"""

import io
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from PIL import Image
from real_thumbnails import FOLDER, bundle, line

from canicor import phantom
from canicor.bundle import INPUT, Bundle
from canicor.memory import FILMS, keep_freed_memory
from canicor.model_input import Prepared, read
from canicor.onnx_runtime import open_session
from canicor.vhs import heart_size
from services.classifier.answer import Answer, Output, ReferralReason, answer
from training.evaluation import share_with_interval
from training.impostors import KINDS, draw

SEED = 987_654_321
"""Of all that is drawn; no training uses it."""
PHANTOMS, IMPOSTORS = 4000, 200
WIDTH, HEIGHT = 640, 512

_NEAR = {ReferralReason.NEAR_THRESHOLD, ReferralReason.LOW_CONFIDENCE}


def held_out(index: int) -> tuple[bytes, float]:
    drawn = phantom.draw(SEED, index, width=WIDTH, height=HEIGHT)
    return _png(drawn.pixels), drawn.vhs


def impostor(index: int) -> bytes:
    return _png(draw(list(KINDS)[index % len(KINDS)], SEED, index))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def answers(model: Bundle, files: Sequence[bytes]) -> Iterator[Answer]:
    session, spec = open_session(model.model), model.info.input
    names = ["key_points", "peaks", "distance"]
    for file in files:
        prepared: Prepared = read(file, spec.height, spec.width, spec.resize)
        said = session.run(names, {INPUT: prepared.pixels[np.newaxis]})
        outputs = {name: value[0] for name, value in zip(names, said, strict=True)}
        yield answer(Output(**outputs), model.info, prepared)


def share(what: str, hits: Sequence[bool]) -> str:
    found = share_with_interval(np.array(hits))
    return f"{what}: {found.value:.3f} ({found.lower:.3f} to {found.upper:.3f}), {found.count}"


def referred(said: Sequence[Answer]) -> Iterator[str]:
    doubted = [any(one.reason not in _NEAR for one in each.referrals) for each in said]
    yield share("referred", [bool(each.referrals) for each in said])
    yield share("referred for doubt about the picture", doubted)
    counts = Counter(reason for each in said for reason in {one.reason for one in each.referrals})
    yield ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


def main() -> None:
    name, _, version = (sys.argv[1] if len(sys.argv) > 1 else "vhs-keypoints").partition("/")
    model = bundle(name, version)
    print(f"{model.name}/{model.version}, trained on {', '.join(model.info.training_origins)}")
    with ProcessPoolExecutor(os.cpu_count(), initializer=keep_freed_memory, initargs=(FILMS,)) as workers:
        drawn = list(workers.map(held_out, range(PHANTOMS), chunksize=20))
        strange = list(workers.map(impostor, range(IMPOSTORS), chunksize=20))
    said, truth = list(answers(model, [file for file, _ in drawn])), [vhs for _, vhs in drawn]
    measured = [(one, vhs) for one, vhs in zip(said, truth, strict=True) if one.measurement and one.vhs_interval]
    errors = np.array([one.measurement.vhs - vhs for one, vhs in measured if one.measurement])
    print(f"{PHANTOMS} phantoms of {WIDTH} x {HEIGHT}, stated coverage {model.info.coverage:.2f}")
    print(" ", line("mean absolute VHS error", lambda some: float(np.abs(errors[some]).mean()), len(errors)))
    print(" ", line("bias", lambda some: float(errors[some].mean()), len(errors)))
    print(" ", share("class right", [one.heart_size == heart_size(vhs) for one, vhs in measured]))
    intervals = [(one.vhs_interval, vhs) for one, vhs in measured if one.vhs_interval]
    print(" ", share("VHS within the interval", [low <= vhs <= high for (low, high), vhs in intervals]))
    print(
        " ", share("class in the prediction set", [heart_size(vhs) in one.prediction_set for one, vhs in measured])
    )
    print(*(f"  {one}" for one in referred(said)), sep="\n")
    print("Pictures that are no lateral thorax")
    print(*(f"  {one}" for one in referred(list(answers(model, strange)))), sep="\n")
    if FOLDER.is_dir():
        files = [file.read_bytes() for file in sorted((FOLDER / "thumbnails").glob("*.png"))]
        print("Real thumbnails")
        print(*(f"  {one}" for one in referred(list(answers(model, files)))), sep="\n")


if __name__ == "__main__":
    main()
