"""What it costs that an answer can be trusted: `python benchmarks/trust.py [NAME[/VERSION] ...]`.

Each bundle's graph with all its outputs against the same graph cut down to those that it must give, on one thread,
in turns; what an answer pays for drift; and how long the pictures that explain one take.
"""

import io
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import onnx
from onnx.utils import Extractor
from PIL import Image

from canicor import phantom
from canicor.bundle import HEAT_MAP, INPUT, OUTPUTS, Bundle
from canicor.model_input import read
from canicor.model_repository import Alias, ModelRepository
from canicor.onnx_runtime import open_session
from canicor.settings import Settings
from services.classifier.answer import Output, answer
from services.classifier.drift import Drift
from services.classifier.engines import ENGINES
from services.classifier.explanation import heat_map_overlay, key_point_overlay
from services.classifier.model import Model

ROUNDS = 200
ROWS, COLUMNS = 2000, 2500


def bundles(names: list[str]) -> list[Bundle]:
    repository = ModelRepository.of(Settings())
    found = []
    for one in names or repository.names():
        name, _, version = one.partition("/")
        found.append(repository.read(name, version or repository.aliases(name).aliases[Alias.PRODUCTION]))
    return found


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def seconds(*works: Callable[[], object]) -> list[float]:
    """Returns the median time of each, taken in turns so that a slow moment strikes all."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, own in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            own.append(time.perf_counter() - started)
    return [statistics.median(own) for own in times]


def graphs(bundle: Bundle, pixels: np.ndarray) -> None:
    must = list(OUTPUTS[bundle.info.kind])
    cut_down = Extractor(onnx.load_from_string(bundle.model)).extract_model([INPUT], must).SerializeToString()
    full, small = (open_session(one, threads=1) for one in (bundle.model, cut_down))
    every = [output.name for output in full.get_outputs()]
    usual = [name for name in every if name != HEAT_MAP]
    feed = {INPUT: pixels[np.newaxis]}
    bare, unasked, asked = seconds(
        lambda: small.run(must, feed), lambda: full.run(usual, feed), lambda: full.run(every, feed)
    )
    print(
        f"{bundle.name}/{bundle.version}: a graph that gives {' and '.join(must)} alone takes {1e3 * bare:.2f} ms"
    )
    print(
        f"  with every output: {unasked / bare:.3f} times that, {asked / bare:.3f} where the heat map is asked for"
    )


def answers(bundle: Bundle, image: bytes) -> None:
    spec = bundle.info.input
    radiograph = read(image, spec.height, spec.width, spec.resize)
    graphs(bundle, radiograph.pixels)
    model, drift = Model(bundle, [ENGINES["onnxruntime-fp32"]], 1, 10), Drift(1000)
    outputs = model.infer(radiograph.pixels[np.newaxis], list(model.outputs))
    output = Output(**{name: value[0] for name, value in outputs.items()})
    heat = output.heat_map
    assert heat is not None
    said = answer(output, bundle.info, radiograph)
    (observed,) = seconds(lambda: drift.observe(model, radiograph, output, said))
    (collected,) = seconds(lambda: list(drift.collect()))
    print(f"  drift: {1e6 * observed:.1f} us an answer, {1e3 * collected:.2f} ms when Prometheus asks")
    pictures = {
        "heat map": lambda: heat_map_overlay(image, heat, radiograph.placement, spec),
        "key-point overlay": lambda: key_point_overlay(image, said.key_points),
    }
    for what, work in pictures.items():
        started = time.perf_counter()
        size = len(work())
        taken = time.perf_counter() - started
        print(f"  {what} of a {COLUMNS} x {ROWS} PNG: {1e3 * taken:.0f} ms, {size / 2**20:.2f} MiB")


def main() -> None:
    image = png(phantom.draw(1, 0, width=COLUMNS, height=ROWS).pixels)
    for bundle in bundles(sys.argv[1:]):
        answers(bundle, image)


if __name__ == "__main__":
    main()
