"""EfficientNetB7 at 600 with the study's head, by every engine: `python benchmarks/serving/engines.py`.

The network has random weights, with batch statistics of phantoms and an output fitted to their classes, so that
its answers differ from image to image as a trained network's do. Seconds are medians over rounds in which each
engine runs once, so that other load meets all; ratios are to ONNX Runtime in 32 bits on as many cores. The
difference is the one that the server holds against the bundle's tolerance. Needs the extra `training` and timm;
takes ten minutes.
"""

import argparse
import time
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from networks import efficientnet
from numpy.typing import NDArray
from structlog.testing import capture_logs

from canicor.bundle import (
    FP16_FILE,
    INPUT,
    INT8_FILE,
    MODEL_FILE,
    Bundle,
    BundleInfo,
    InputSpec,
    ModelKind,
    Predictions,
)
from canicor.model_input import ResizeRule
from canicor.model_repository import ModelRepository
from canicor.onnx_runtime import open_session
from canicor.phantom import draw
from canicor.store import file_url
from services.classifier.engines import ENGINES, Engine, Runner
from services.classifier.tuning import choose
from training.number_formats import int8

SIDE, HEAD, CORES = 600, 7, 2
CALIBRATION, PREDICTED = 16, 8
ONNX_RUNTIME = "onnxruntime-fp32"


def phantoms(seed: int, count: int, side: int) -> NDArray[np.uint8]:
    return np.stack([draw(seed, index, width=side, height=side).pixels for index in range(count)])


def bundle(folder: str, name: str, side: int, head: int) -> Bundle:
    """Builds the network, records its predictions, and reads the bundle back as a server would."""
    graph = efficientnet(name, side, head)
    images = phantoms(2, PREDICTED, side)
    session = open_session(graph)
    outputs = [session.run(["probabilities"], {INPUT: image[np.newaxis]})[0] for image in images]
    info = BundleInfo(
        kind=ModelKind.CLASSIFIER,
        input=InputSpec(height=side, width=side, resize=ResizeRule.STRETCH),
        training_dataset_digest="0" * 64,
        test_dataset_digest="0" * 64,
        training_origins=("phantom",),
        training_run="benchmark",
        create_time=datetime.now(UTC),
    )
    repository = ModelRepository(file_url(Path(folder)))
    version = repository.push(
        "network",
        info,
        graph,
        "# Random weights\n",
        variants={INT8_FILE: int8(graph, phantoms(1, CALIBRATION, side))},
        predictions=Predictions(images, {"probabilities": np.concatenate(outputs)}),
    )
    return repository.read("network", version, {INT8_FILE, FP16_FILE})


def compare(made: Bundle, engines: list[Engine], rounds: int) -> str:
    """Returns a table of every engine, alone on one core and on all."""
    assert made.predictions is not None
    graphs = {MODEL_FILE: made.model, **made.variants}
    runners: dict[tuple[str, int], Runner] = {
        (engine.name, cores): engine.open(graphs[engine.file], cores, 1)
        for engine in engines
        for cores in (1, CORES)
    }
    images = made.predictions.images
    run = {key: partial(runner.run, images[:1], ["probabilities"]) for key, runner in runners.items()}
    taken: dict[tuple[str, int], list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for key, once in run.items():
            started = time.perf_counter()
            once()
            # The first round warms up.
            taken[key] += [time.perf_counter() - started] if number else []
    lines = [
        "| engine | 1 core, ms | ratio | 2 cores, ms | ratio | difference | largest | same class |",
        "| --- " * 8 + "|",
    ]
    for engine in engines:
        outputs = [runners[engine.name, CORES].run(image[np.newaxis], ["probabilities"]) for image in images]
        probabilities = np.concatenate([one["probabilities"] for one in outputs])
        own = made.predictions.outputs["probabilities"]
        same = (probabilities.argmax(1) == own.argmax(1)).mean()
        difference = made.predictions.difference({"probabilities": probabilities})
        speeds = []
        for cores in (1, CORES):
            ratios = [a / b for a, b in zip(taken[ONNX_RUNTIME, cores], taken[engine.name, cores], strict=True)]
            speeds += [f"{1000 * median(taken[engine.name, cores]):.1f}", f"{median(ratios):.2f}"]
        largest = np.abs(probabilities - own).max()
        lines.append(f"| {engine.name} | {' | '.join(speeds)} | {difference:.4f} | {largest:.4f} | {same:.0%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares what can run a network on this machine.")
    parser.add_argument("--network", default="tf_efficientnet_b7", help="of timm (default: %(default)s)")
    parser.add_argument("--side", type=int, default=SIDE, help="of the input, in pixels (default: %(default)s)")
    parser.add_argument("--head", type=int, default=HEAD, help="hidden linear layers (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        made = bundle(folder, arguments.network, arguments.side, arguments.head)
    with capture_logs() as logs:
        plan, _ = choose(made, ENGINES.values(), CORES)
    engines = [one for one in ENGINES.values() if one.available() and one.file in (MODEL_FILE, *made.variants)]
    print(compare(made, engines, arguments.rounds))
    for log in logs:
        if log["event"] == "engine refused":
            print(f"The server refuses {log['engine']}: it {log['why']}.")
    print(f"The server picks {plan.engine.name} (tolerance {made.info.tolerance:g}).")


if __name__ == "__main__":
    main()
