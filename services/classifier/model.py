"""One version of a model, loaded into ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from canicor.bundle import DISTANCE, HEAT_MAP, INPUT, OPTIONAL_OUTPUTS, OUTPUTS, Bundle
from canicor.errors import FailedPrecondition
from canicor.onnx_runtime import CPU, InferenceSession, open_session

_log = structlog.get_logger("canicor.model")


@dataclass(frozen=True)
class Output:
    """What the graph said of one image, as `canicor.bundle` says; what it does not give or was not asked is None.

    Attributes:
        probabilities: float32 [3], Small, Normal, Large.
        key_points: float32 [6, 2] in pixels of the model's input.
        peaks: float32 [6], 0 to 1.
        distance: float32, 0 or more.
        heat_map: float32 [rows, columns], 0 to 1, over the whole input.
    """

    probabilities: NDArray[np.float32] | None = None
    key_points: NDArray[np.float32] | None = None
    peaks: NDArray[np.float32] | None = None
    distance: np.float32 | None = None
    heat_map: NDArray[np.float32] | None = None


class Model:
    """A bundle that runs. Loading tries it on a blank image, so that what is served has answered once.

    Args:
        bundle: Checked, as `canicor.bundle.ModelRepository.read` returns it.
        providers: ONNX Runtime's execution providers by preference.
        cores: Cores that an inference which runs alone may use; several at once use one each.

    Raises:
        FailedPrecondition: ONNX Runtime can't run it here, or its inputs or outputs are not what its kind says.
    """

    def __init__(self, bundle: Bundle, providers: tuple[str, ...], cores: int) -> None:
        self.name = bundle.name
        self.version = bundle.version
        self.info = bundle.info
        self.card = bundle.card
        # One core each gives the most answers; all cores for one give a lone answer soonest. A session has one
        # number of threads for life, so there are two.
        self._session = _session(bundle, providers, 1)
        has_choice = cores > 1 and self.provider == CPU
        self._lone_session = _session(bundle, providers, cores) if has_choice else self._session
        given = {output.name for output in self._session.get_outputs()}
        optional = {name: shape for name, shape in OPTIONAL_OUTPUTS.items() if name in given}
        self.outputs: dict[str, tuple[int | None, ...]] = {**OUTPUTS[self.info.kind], **optional}
        self._try()

    @property
    def provider(self) -> str:
        """The execution provider that runs it."""
        return str(self._session.get_providers()[0])

    def run(self, image: NDArray[np.uint8], *, heat_map: bool = False, alone: bool = False) -> Output:
        """Runs one image, uint8 [height, width] of the bundle's input: see `infer`.

        Args:
            image: The input.
            heat_map: Return the heat map too, from a graph that gives it.
            alone: As for `infer`.
        """
        outputs = [*self._always, *([HEAT_MAP] if heat_map else [])]
        values = self.infer(image[None], outputs, alone=alone)
        return Output(**{name: value[0] for name, value in values.items()})

    def infer(
        self, images: NDArray[np.uint8], outputs: Sequence[str] = (), *, alone: bool = False
    ) -> dict[str, NDArray[np.float32]]:
        """Runs images and returns the graph's outputs by name, as `OUTPUTS` and `OPTIONAL_OUTPUTS` say.

        ONNX Runtime computes a whole graph, whatever is asked of it: `only_execute_path_to_fetches` does nothing
        outside its training builds (microsoft/onnxruntime#16013). What is not asked for is not copied.

        Args:
            images: uint8 [N, height, width] of the bundle's input.
            outputs: The names wanted; none for those that an answer needs.
            alone: No other inference is under way or waiting, so this one may have every core.
        """
        names = list(outputs) or self._always
        session = self._lone_session if alone else self._session
        return dict(zip(names, session.run(names, {INPUT: images}), strict=True))

    @property
    def _always(self) -> list[str]:
        """What an answer needs."""
        return [name for name in self.outputs if name != HEAT_MAP]

    def _try(self) -> None:
        if self.info.limits.max_distance is not None and DISTANCE not in self.outputs:
            raise self._refused(f"has a limit of {DISTANCE}, which its graph does not give")
        height, width = self.info.input.height, self.info.input.width
        blank = np.zeros((height, width), np.uint8)
        try:
            self.run(blank, alone=True)
            output = self.run(blank, heat_map=HEAT_MAP in self.outputs)
        except Exception as error:
            raise self._refused("does not run on an image of its stated size") from error
        for name, shape in self.outputs.items():
            value = getattr(output, name)
            if not _fits(value.shape, shape) or not np.isfinite(value).all():
                raise self._refused(f"gives {name} of shape {value.shape} or not finite, where {shape} is due")

    def _refused(self, why: str) -> FailedPrecondition:
        return FailedPrecondition(f"The model {self.name}/{self.version} {why}.", reason="MODEL_REFUSED")


def _fits(shape: tuple[int, ...], due: tuple[int | None, ...]) -> bool:
    return len(shape) == len(due) and all(wanted in (None, side) for side, wanted in zip(shape, due, strict=True))


def _session(bundle: Bundle, preferred: tuple[str, ...], threads: int) -> InferenceSession:
    try:
        session = open_session(bundle.model, preferred, threads)
    except Exception as error:
        raise FailedPrecondition(
            f"ONNX Runtime can't load the model {bundle.name}/{bundle.version}.", reason="MODEL_REFUSED"
        ) from error
    _log.info(
        "loaded",
        model=bundle.name,
        version=bundle.version,
        asked=preferred,
        running=session.get_providers(),
        threads=threads,
    )
    return session
