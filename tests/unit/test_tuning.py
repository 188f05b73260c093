"""Engines and the choice among them. What stands for a GPU is ONNX Runtime on the CPU, bound as on a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from canicor.bundle import FP16_FILE, INT8_FILE, MODEL_FILE, OUTPUTS, Bundle, ModelKind, Predictions
from canicor.errors import FailedPrecondition
from canicor.model_repository import ModelRepository
from canicor.onnx_runtime import CPU
from canicor.store import file_url
from services.classifier import tuning
from services.classifier.engines import ENGINES, Engine, OnnxRuntime, Outputs, Runner
from services.classifier.tuning import Refused, apply, choose, verify
from tests import toy_models

IMAGES = np.random.default_rng(0).integers(0, 255, (3, toy_models.HEIGHT, toy_models.WIDTH), np.uint8)
PROBABILITIES = (0.1, 0.7, 0.2)


def predictions(probabilities: Sequence[float] = PROBABILITIES) -> Predictions:
    return Predictions(IMAGES, {"probabilities": np.tile(np.float32(probabilities), (len(IMAGES), 1))})


def bundle(tmp_path: Path, **changes: object) -> Bundle:
    fields = {"variants": {}, "predictions": predictions(), "model": toy_models.class_model(PROBABILITIES)}
    fields |= changes
    repository = ModelRepository(file_url(tmp_path))
    info = toy_models.info(ModelKind.CLASSIFIER, tolerance=0.01)
    version = repository.push(
        "toy", info, fields["model"], "", variants=fields["variants"], predictions=fields["predictions"]
    )
    return repository.read("toy", version, {INT8_FILE, FP16_FILE})


@dataclass(frozen=True)
class Slow(OnnxRuntime):
    """Ten times the work, and the answer off by a little."""

    work: int = 10
    off: float = 0.0

    def open(self, graph: bytes, threads: int, at_once: int) -> Runner:
        runner, work, off = super().open(graph, threads, at_once), self.work, self.off

        class Working:
            names = runner.names

            def run(self, images: np.ndarray, names: Sequence[str]) -> Outputs:
                for _ in range(work):
                    outputs = runner.run(images, names)
                return {name: value + np.float32(off) for name, value in outputs.items()}

        return Working()


@dataclass(frozen=True)
class Absent(OnnxRuntime):
    """Installed, and fails to start."""

    def open(self, graph: bytes, threads: int, at_once: int) -> Runner:
        raise RuntimeError("no device")


FAST = Slow("fast", MODEL_FILE, False, True, work=1)
SLOW = Slow("slow", MODEL_FILE, False, True, work=200)


@pytest.mark.parametrize(
    "engine", [engine for engine in ENGINES.values() if engine.available() and engine.file == MODEL_FILE]
)
@pytest.mark.parametrize("cores", [1, 2])
def test_every_engine_here_gives_the_same(engine: Engine, cores: int) -> None:
    runner = engine.open(toy_models.keypoints_model(), cores, 2)
    outputs = runner.run(IMAGES, list(OUTPUTS[ModelKind.KEYPOINTS]))
    assert outputs["key_points"].shape == (3, 6, 2)
    assert outputs["key_points"][2] == pytest.approx(np.array(toy_models.NORMAL_HEART), abs=0.2)
    assert outputs["peaks"].dtype == np.float32


def test_bound_outputs_are_the_same() -> None:
    on_gpu = OnnxRuntime("bound", MODEL_FILE, True, True, provider=CPU)
    outputs = on_gpu.open(toy_models.class_model(), 1, 1).run(IMAGES, ["probabilities"])
    assert outputs["probabilities"] == pytest.approx(np.tile([0.1, 0.7, 0.2], (3, 1)))


def test_no_provider_takes_the_place_of_another_unasked() -> None:
    missing = OnnxRuntime("missing", MODEL_FILE, True, True, provider="NoSuchExecutionProvider")
    assert not missing.available()
    with pytest.raises(Exception, match="NoSuchExecutionProvider"):
        missing.open(toy_models.class_model(), 1, 1)


def test_the_fastest_runs_it(tmp_path: Path) -> None:
    plan, _ = choose(bundle(tmp_path), [SLOW, FAST], 1)
    assert plan.engine is FAST
    assert plan.batch == 1


def test_what_changes_the_answers_does_not(tmp_path: Path) -> None:
    wrong = replace(FAST, name="wrong", off=0.02)
    with capture_logs() as logs:
        plan, _ = choose(bundle(tmp_path), [wrong, SLOW], 1)
    assert plan.engine is SLOW
    (refusal,) = [log for log in logs if log["event"] == "engine refused"]
    assert (refusal["engine"], "0.02" in refusal["why"]) == ("wrong", True)
    within = replace(FAST, name="within", off=0.009)
    assert choose(bundle(tmp_path), [within, SLOW], 1)[0].engine is within


def test_a_gpu_goes_first_and_the_cpu_takes_its_place_where_it_fails(tmp_path: Path) -> None:
    gpu = replace(SLOW, name="gpu", on_gpu=True)
    assert choose(bundle(tmp_path), [FAST, gpu], 1)[0].engine is gpu
    absent = Absent("absent", MODEL_FILE, True, True)
    with capture_logs() as logs:
        assert choose(bundle(tmp_path), [FAST, absent], 1)[0].engine is FAST
    assert any(log["event"] == "engine refused" and "absent" in log["why"] for log in logs)


def test_batches_are_as_large_as_pays(tmp_path: Path) -> None:
    # A call costs the same however many images it takes, up to eight.
    class Flat:
        names = ("probabilities",)

        def run(self, images: np.ndarray, names: Sequence[str]) -> Outputs:
            for _ in range(20_000 * max(1, len(images) // 8)):
                pass
            return {"probabilities": np.tile(np.float32(PROBABILITIES), (len(images), 1))}

    class FlatEngine(Slow):
        def open(self, graph: bytes, threads: int, at_once: int) -> Runner:
            return Flat()

    plan, _ = choose(bundle(tmp_path), [FlatEngine("flat", MODEL_FILE, True, True)], 1)
    assert plan.batch in (8, 16)


def test_other_number_formats_need_something_to_be_held_against(tmp_path: Path) -> None:
    eight_bits = Slow("int8", INT8_FILE, False, False, work=1)
    variants = {INT8_FILE: toy_models.class_model(PROBABILITIES)}
    assert choose(bundle(tmp_path, variants=variants), [eight_bits, SLOW], 1)[0].engine is eight_bits
    without = bundle(tmp_path, variants=variants, predictions=None)
    assert choose(without, [eight_bits, SLOW], 1)[0].engine is SLOW
    other = {INT8_FILE: toy_models.class_model((0.5, 0.3, 0.2))}
    assert choose(bundle(tmp_path, variants=other), [eight_bits, SLOW], 1)[0].engine is SLOW


def test_says_why_no_engine_runs_it(tmp_path: Path) -> None:
    made = bundle(tmp_path, predictions=predictions((0.2, 0.6, 0.2)))
    with pytest.raises(FailedPrecondition, match=r"toy/1 differs from its recorded predictions by 0\.1"):
        choose(made, [FAST], 1)


def test_the_next_version_runs_as_the_one_before_without_being_measured(tmp_path: Path) -> None:
    plan, _ = choose(bundle(tmp_path), [FAST], 2)
    with capture_logs() as logs:
        runners = apply(plan, bundle(tmp_path), 2)
    assert set(runners) == set(plan.cores)
    assert logs == []
    with pytest.raises(Refused, match="recorded predictions"):
        apply(plan, bundle(tmp_path, predictions=predictions((0.2, 0.6, 0.2))), 2)


def test_nan_never_agrees(tmp_path: Path) -> None:
    made = bundle(tmp_path, predictions=predictions((np.nan, 0.7, 0.2)))
    with pytest.raises(Refused):
        verify(FAST.open(made.model, 1, 1), made)


@pytest.mark.parametrize("plan_cores", [1, 2])
def test_more_cores_are_taken_only_where_they_pay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan_cores: int
) -> None:
    monkeypatch.setattr(tuning, "_WORTH_MORE_CORES", 1e9 if plan_cores == 1 else 0)
    plan, runners = choose(bundle(tmp_path), [FAST], 2)
    assert plan.cores == tuple(runners) == tuple(range(1, plan_cores + 1))


def test_one_core_has_to_do_where_more_can_not_be_had(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class OneCore(Slow):
        def open(self, graph: bytes, threads: int, at_once: int) -> Runner:
            if threads > 1:
                raise MemoryError
            return super().open(graph, threads, at_once)

    plan, runners = choose(bundle(tmp_path), [OneCore("one core", MODEL_FILE, False, True, work=1)], 2)
    assert plan.cores == tuple(runners) == (1,)
