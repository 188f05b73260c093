"""Gauges against figures worked out by hand, and against distributions that did and did not move."""

import gc
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from canicor.bundle import Bundle, Histogram, ModelKind, Reference
from canicor.model_input import Placement, Prepared
from canicor.radiograph import View
from canicor.vhs import HEART_SIZES
from services.classifier.answer import Output, answer
from services.classifier.drift import ENOUGH, Drift, kolmogorov_smirnov, population_stability_index
from services.classifier.engines import ENGINES
from services.classifier.model import Model
from tests import toy_models
from tests.hearts import heart

SAME = Placement((1.0, 1.0), (0.0, 0.0))
RADIOGRAPH = Prepared(np.full((480, 640), 90, np.uint8), SAME, (480, 640), (1.0, 1.0), View.UNKNOWN)

DECILES = Histogram(edges=tuple(i / 10 for i in range(1, 10)), shares=(0.1,) * 10)
"""Of numbers spread evenly from 0 to 1."""


def loaded(reference: Reference | None, version: str = "1", kind: ModelKind = ModelKind.KEYPOINTS) -> Model:
    graph = toy_models.keypoints_model() if kind is ModelKind.KEYPOINTS else toy_models.class_model()
    info = toy_models.info(kind, reference=reference)
    return Model(Bundle("toy", version, info, graph, "", {}, None), [ENGINES["onnxruntime-fp32"]], 1, 10)


def reference(**features: Histogram) -> Reference:
    return Reference(count=100, features=features)


def observe(
    drift: Drift, model: Model, vhs: float = 9.0, peak: float = 0.5, distance: float | None = None
) -> None:
    """Has the drift see the answer of a key-point model."""
    output = Output(
        key_points=(heart(vhs) * 30 + 100).astype(np.float32),
        peaks=np.full(6, peak, np.float32),
        distance=None if distance is None else np.float32(distance),
    )
    said = answer(output, model.info, RADIOGRAPH)
    drift.observe(model, RADIOGRAPH, output, said)


def gauges(drift: Drift, name: str) -> dict[str, float]:
    """One gauge's values by feature, or by version where it has no feature."""
    return {
        sample.labels.get("feature", sample.labels["version"]): sample.value
        for family in drift.collect()
        for sample in family.samples
        if sample.name == f"canicor_classifier_drift_{name}"
    }


def test_figures_are_those_worked_out_by_hand() -> None:
    expected, found = (0.5, 0.3, 0.2), (0.25, 0.25, 0.5)
    by_hand = -0.25 * math.log(0.5) - 0.05 * math.log(0.25 / 0.3) + 0.3 * math.log(2.5)
    assert population_stability_index(expected, found) == pytest.approx(by_hand)
    # Cumulative: 0.5, 0.8 against 0.25, 0.5.
    assert kolmogorov_smirnov(expected, found) == pytest.approx(0.3)


def test_an_empty_bin_has_a_logarithm() -> None:
    by_hand = (1 - 0.5) * math.log(2) + (0.0001 - 0.5) * math.log(0.0001 / 0.5)
    assert population_stability_index((0.5, 0.5), (1.0, 0.0)) == pytest.approx(by_hand)


def test_a_window_of_a_hundred_answers_by_hand() -> None:
    model, drift = loaded(reference(vhs=Histogram(edges=(8.0, 10.0), shares=(0.2, 0.5, 0.3)))), Drift(1000)
    for vhs in [7.0] * 10 + [9.0] * 50 + [11.0] * 40:
        observe(drift, model, vhs)
    by_hand = -0.1 * math.log(0.1 / 0.2) + 0.1 * math.log(0.4 / 0.3)
    assert gauges(drift, "psi") == {"vhs": pytest.approx(by_hand)}
    assert gauges(drift, "ks") == {"vhs": pytest.approx(0.1)}
    assert gauges(drift, "answers") == {"1": 100}


def test_a_value_on_an_edge_lies_above_it() -> None:
    model, drift = loaded(reference(distance=Histogram(edges=(5.0,), shares=(0.5, 0.5)))), Drift(1000)
    for distance in [4.0, 5.0] * 50:
        observe(drift, model, distance=distance)
    assert gauges(drift, "psi") == {"distance": pytest.approx(0)}


@pytest.mark.parametrize(
    ("shift", "lowest", "highest", "ks"), [(0.0, 0.0, 0.05, (0.0, 0.06)), (0.3, 0.25, math.inf, (0.25, 0.35))]
)
def test_a_shift_shows_and_chance_does_not(
    shift: float, lowest: float, highest: float, ks: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    model, drift = loaded(reference(lowest_peak=DECILES)), Drift(1000)
    for peak in np.minimum(rng.random(1000) + shift, 1):
        observe(drift, model, peak=peak)
    assert lowest <= gauges(drift, "psi")["lowest_peak"] <= highest
    assert ks[0] <= gauges(drift, "ks")["lowest_peak"] <= ks[1]


def test_only_the_newest_answers_count() -> None:
    model, drift = loaded(reference(lowest_peak=DECILES)), Drift(ENOUGH)
    evenly = [(i + 0.5) / ENOUGH for i in range(ENOUGH)]
    for peak in [0.95] * 500 + evenly:
        observe(drift, model, peak=peak)
    assert gauges(drift, "psi") == {"lowest_peak": pytest.approx(0)}
    assert gauges(drift, "answers") == {"1": ENOUGH}


def test_too_few_answers_say_nothing() -> None:
    model, drift = loaded(reference(vhs=DECILES, distance=DECILES)), Drift(1000)
    for _ in range(ENOUGH - 1):
        observe(drift, model)
    assert not gauges(drift, "psi")
    assert not gauges(drift, "answers")
    observe(drift, model)
    # The distance is none of this graph's outputs: it has no answers at all.
    assert set(gauges(drift, "psi")) == {"vhs"}


def test_without_a_reference_nothing_is_exposed() -> None:
    model, drift = loaded(None), Drift(1000)
    for _ in range(ENOUGH):
        observe(drift, model)
    assert [sample for family in drift.collect() for sample in family.samples] == []


def test_a_feature_of_a_newer_training_is_passed_over() -> None:
    model, drift = loaded(reference(vhs=DECILES, breed=DECILES)), Drift(1000)
    for _ in range(ENOUGH):
        observe(drift, model)
    assert set(gauges(drift, "ks")) == {"vhs"}


def test_classes_and_their_probability() -> None:
    shares = Histogram(edges=(0.5, 1.5), shares=(0.2, 0.5, 0.3))
    sure = Histogram(edges=(0.8,), shares=(0.5, 0.5))
    model = loaded(reference(heart_size=shares, probability=sure), kind=ModelKind.CLASSIFIER)
    drift = Drift(1000)
    for size, count in zip(HEART_SIZES, (20, 50, 30), strict=True):
        for probability in [0.7, 0.9] * (count // 2):
            values = np.full(3, (1 - probability) / 2, np.float32)
            values[HEART_SIZES.index(size)] = probability
            output = Output(probabilities=values)
            said = answer(output, model.info, RADIOGRAPH)
            drift.observe(model, RADIOGRAPH, output, said)
    assert gauges(drift, "psi") == {"heart_size": pytest.approx(0), "probability": pytest.approx(0)}


def test_versions_are_kept_apart_and_go_with_the_model() -> None:
    even = reference(lowest_peak=DECILES)
    one, two, drift = loaded(even, "1"), loaded(even, "2"), Drift(1000)
    for _ in range(ENOUGH):
        observe(drift, one, peak=0.05)
    for _ in range(2 * ENOUGH):
        observe(drift, two, peak=0.95)
    assert gauges(drift, "answers") == {"1": ENOUGH, "2": 2 * ENOUGH}
    del one
    gc.collect()
    assert gauges(drift, "answers") == {"2": 2 * ENOUGH}


def test_threads_lose_no_answer() -> None:
    model, drift = loaded(reference(lowest_peak=DECILES)), Drift(10_000)

    def work(_: int) -> None:
        for _ in range(200):
            observe(drift, model)
            list(drift.collect())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert gauges(drift, "answers") == {"1": 800}
