"""Which engine runs a model here, on how many cores, in what batches: found by trying, and written to the log."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from canicor.bundle import DISTANCE, MODEL_FILE, OPTIONAL_OUTPUTS, OUTPUTS, Bundle, BundleInfo
from canicor.errors import FailedPrecondition
from services.classifier.engines import Engine, Outputs, Runner

_log = structlog.get_logger("canicor.tuning")

# Runs of one measurement: enough for the fastest to be undisturbed, few enough for a large model to load soon.
_FEWEST_RUNS, _MOST_RUNS, _SECONDS = 3, 20, 0.2

# More cores for one inference, or more images in a batch, must pay for the memory that they cost.
_WORTH_MORE_CORES = 1.2
_WORTH_LARGER_BATCH = 1.1
_LARGEST_BATCH = 32


@dataclass(frozen=True)
class Plan:
    """How a model is run on this machine.

    Attributes:
        engine: Runs it.
        cores: Of one inference: 1, and the powers of two up to the machine's cores that make one faster.
        batch: Images run together; 1 where more are no faster, as on a CPU.
        seconds: The fastest inference of one image, with all cores.
    """

    engine: Engine
    cores: tuple[int, ...]
    batch: int
    seconds: float


class Refused(Exception):
    """An engine does not run a bundle, or not to the same answers. Its text says why."""


def choose(bundle: Bundle, engines: Iterable[Engine], cores: int) -> tuple[Plan, dict[int, Runner]]:
    """Finds the fastest of the engines that give the bundle's recorded predictions.

    Engines on a GPU go before those on the CPU. Where the bundle has no predictions to hold them against, only
    those that compute in 32-bit floats are tried.

    Args:
        bundle: The model.
        engines: To choose from.
        cores: Of this machine, for this server.

    Returns:
        The plan, and what it runs by the number of cores of one inference.

    Raises:
        FailedPrecondition: None of them; says why for each.
    """
    refusals: dict[str, str] = {}
    best: _Trial | None = None
    for engine in sorted(engines, key=lambda one: not one.on_gpu):
        if best is not None and best.engine.on_gpu and not engine.on_gpu:
            break
        trial = _try(engine, bundle, cores, refusals) if _is_usable(engine, bundle) else None
        if trial is not None and (best is None or trial.seconds < best.seconds):
            best = trial
    if best is None:
        why = "; ".join(dict.fromkeys(refusals.values())) or "has no file that an engine of this server runs"
        raise FailedPrecondition(f"The model {bundle.name}/{bundle.version} {why}.", reason="MODEL_REFUSED")
    return _planned(bundle, best, cores)


def apply(plan: Plan, bundle: Bundle, at_once: int) -> dict[int, Runner]:
    """Runs another version of a model by the plan of an earlier one, without measuring again.

    Raises:
        Refused: The engine does not run it to its recorded predictions, or must not without any.
    """
    if not _is_usable(plan.engine, bundle):
        raise Refused("has no file for the engine of the version before")
    runners = {cores: _opened(plan.engine, bundle, cores, at_once) for cores in plan.cores}
    for runner in runners.values():
        verify(runner, bundle)
    return runners


def outputs_of(runner: Runner, info: BundleInfo) -> dict[str, tuple[int | None, ...]]:
    """Returns the outputs that a graph of this kind must give, and those of the optional ones that it does."""
    optional = {name: shape for name, shape in OPTIONAL_OUTPUTS.items() if name in runner.names}
    return {**OUTPUTS[info.kind], **optional}


def verify(runner: Runner, bundle: Bundle) -> float:
    """Returns the difference from the bundle's recorded predictions; 0 where it has none.

    Raises:
        Refused: It is beyond the bundle's tolerance, or the outputs are not what its kind says.
    """
    expected = outputs_of(runner, bundle.info)
    if bundle.info.limits.max_distance is not None and DISTANCE not in expected:
        raise Refused(f"has a limit of {DISTANCE}, which its graph does not give")
    predictions, names = bundle.predictions, list(expected)
    images = _grey(bundle) if predictions is None else predictions.images
    try:
        parts = [runner.run(image[None], names) for image in images]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in names}
    except Exception as error:
        raise Refused("does not run on an image of its stated size") from error
    _check_outputs(outputs, expected, len(images))
    if predictions is None:
        return 0.0
    difference = predictions.difference(outputs)
    # Written so that a NaN is refused too.
    if not difference <= bundle.info.tolerance:
        raise Refused(
            f"differs from its recorded predictions by {difference:.3g}, more than {bundle.info.tolerance:g}"
        )
    return difference


@dataclass(frozen=True)
class _Trial:
    """An engine that gives the right answers, on one core for each inference, and how fast."""

    engine: Engine
    runner: Runner
    seconds: float
    difference: float


def _is_usable(engine: Engine, bundle: Bundle) -> bool:
    return (
        engine.file in _graphs(bundle) and (engine.exact or bundle.predictions is not None) and engine.available()
    )


def _graphs(bundle: Bundle) -> Mapping[str, bytes]:
    return {MODEL_FILE: bundle.model, **bundle.variants}


def _opened(engine: Engine, bundle: Bundle, cores: int, at_once: int) -> Runner:
    try:
        return engine.open(_graphs(bundle)[engine.file], cores, at_once if cores == 1 else 1)
    except Exception as error:
        raise Refused(f"can't be loaded by {engine.name}") from error


def _try(engine: Engine, bundle: Bundle, cores: int, refusals: dict[str, str]) -> _Trial | None:
    model = f"{bundle.name}/{bundle.version}"
    try:
        runner = _opened(engine, bundle, 1, cores)
        difference = verify(runner, bundle)
    except Refused as refused:
        refusals[engine.name] = str(refused)
        _log.warning("engine refused", model=model, engine=engine.name, why=str(refused))
        return None
    seconds = _fastest(partial(runner.run, _grey(bundle), list(OUTPUTS[bundle.info.kind])))
    _log.info(
        "engine tried", model=model, engine=engine.name, seconds=round(seconds, 5), difference=float(difference)
    )
    return _Trial(engine, runner, seconds, difference)


def _planned(bundle: Bundle, trial: _Trial, cores: int) -> tuple[Plan, dict[int, Runner]]:
    names, engine = list(OUTPUTS[bundle.info.kind]), trial.engine
    runners, seconds, more = {1: trial.runner}, trial.seconds, 2
    while more <= cores and not engine.on_gpu:
        try:
            runner = _opened(engine, bundle, more, 1)
            verify(runner, bundle)
        except Refused as refused:
            _log.warning("no more cores for one", engine=engine.name, cores=more, why=str(refused))
            break
        faster = _fastest(partial(runner.run, _grey(bundle), names))
        if faster * _WORTH_MORE_CORES > seconds:
            break
        runners[more], seconds, more = runner, faster, 2 * more
    plan = Plan(engine, tuple(runners), _best_batch(trial, bundle) if engine.on_gpu else 1, seconds)
    _log.info(
        "engine chosen",
        model=f"{bundle.name}/{bundle.version}",
        engine=engine.name,
        cores=plan.cores,
        batch=plan.batch,
        seconds=round(seconds, 5),
        difference=trial.difference,
    )
    return plan, runners


def _best_batch(trial: _Trial, bundle: Bundle) -> int:
    names, batch, each = list(OUTPUTS[bundle.info.kind]), 1, trial.seconds
    while batch < _LARGEST_BATCH:
        images = _grey(bundle, 2 * batch)
        faster = _fastest(partial(trial.runner.run, images, names)) / len(images)
        if faster * _WORTH_LARGER_BATCH > each:
            break
        batch, each = 2 * batch, faster
    return batch


def _fastest(run: Callable[[], object]) -> float:
    """Returns the seconds of the fastest run: what disturbs a run only adds to it."""
    run()
    taken: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(taken) < _FEWEST_RUNS or (time.perf_counter() < end and len(taken) < _MOST_RUNS):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def _grey(bundle: Bundle, count: int = 1) -> NDArray[np.uint8]:
    height, width = bundle.info.input.height, bundle.info.input.width
    return np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (count, height, width)).copy()


def _check_outputs(outputs: Outputs, expected: Mapping[str, tuple[int | None, ...]], count: int) -> None:
    for name, shape in expected.items():
        value = outputs[name]
        if not _fits(value.shape, (count, *shape)) or not np.isfinite(value).all():
            raise Refused(f"gives {name} of shape {value.shape[1:]} or not finite, where {shape} is due")


def _fits(shape: tuple[int, ...], due: tuple[int | None, ...]) -> bool:
    return len(shape) == len(due) and all(wanted in (None, side) for side, wanted in zip(shape, due, strict=True))
