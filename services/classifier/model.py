"""One version of a model, loaded and tried."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import HEAT_MAP, Bundle
from canicor.errors import FailedPrecondition
from services.classifier import tuning
from services.classifier.batcher import Batcher
from services.classifier.engines import Engine, Outputs, Runner
from services.classifier.scheduler import Estimate, Job
from services.classifier.tuning import Plan, Refused


class Model:
    """A bundle that runs. Loading holds it against its recorded predictions, so what is served has answered.

    Args:
        bundle: Checked, as `canicor.model_repository.ModelRepository.read` returns it.
        engines: To choose the fastest from that gives the right answers.
        cores: Of this machine, for this server.
        slowest: Seconds that one inference may take.
        before: The version that this one follows: where it is of the same make, the choice is the same.

    Attributes:
        plan: How it runs here.
        outputs: What its graph gives, and what follows N in the shape of each, as `OUTPUTS` and `OPTIONAL_OUTPUTS`
            have it.
        estimate: What a request to it takes, learnt from those that were answered.

    Raises:
        FailedPrecondition: No engine runs it, its outputs are not what its kind says or what it predicted when it
            was made, or it is too slow.
    """

    def __init__(
        self,
        bundle: Bundle,
        engines: Iterable[Engine],
        cores: int,
        slowest: float,
        before: "Model | None" = None,
    ) -> None:
        self.name = bundle.name
        self.version = bundle.version
        self.info = bundle.info
        self.card = bundle.card
        self.estimate = Estimate()
        self._size = len(bundle.model)
        self.plan, self._runners = self._prepared(bundle, engines, cores, before)
        self.outputs = tuning.outputs_of(self._runners[1], self.info)
        self._usual = [name for name in self.outputs if name != HEAT_MAP]
        if self.plan.seconds > slowest:
            raise FailedPrecondition(
                f"The model {self.name}/{self.version} takes {self.plan.seconds:.2f} s for one radiograph, more "
                f"than CANICOR_SLOWEST_INFERENCE allows ({slowest:g} s).",
                reason="MODEL_REFUSED",
            )
        self._batcher = Batcher(self._runners[1].run, self.plan.batch) if self.plan.batch > 1 else None

    @property
    def engine(self) -> str:
        """The name of the engine that runs it."""
        return self.plan.engine.name

    @property
    def batches(self) -> bool:
        """Whether images are run together: then `submit` is the way."""
        return self._batcher is not None

    def infer(self, images: NDArray[np.uint8], names: Sequence[str] = (), *, cores: int = 1) -> Outputs:
        """Runs images in the calling thread and returns the graph's outputs by name.

        ONNX Runtime computes a whole graph, whatever is asked of it: `only_execute_path_to_fetches` does nothing
        outside its training builds (microsoft/onnxruntime#16013). What is not asked for is not copied.

        Args:
            images: uint8 [N, height, width] of the bundle's input.
            names: Of the outputs wanted; those that an answer needs where left out.
            cores: That it may use.
        """
        most = max(number for number in self._runners if number <= max(1, cores))
        return self._runners[most].run(images, names or self._usual)

    def submit(self, image: NDArray[np.uint8], job: Job, names: Sequence[str] = ()) -> "Future[Outputs]":
        """Has an image run with others that wait, where the model `batches`; see `Batcher.submit`."""
        assert self._batcher is not None  # noqa: S101
        return self._batcher.submit(image, names or self._usual, lambda: job.check("inference", self.plan.seconds))

    def _prepared(
        self, bundle: Bundle, engines: Iterable[Engine], cores: int, before: "Model | None"
    ) -> tuple[Plan, dict[int, Runner]]:
        if before is not None and self._is_like(before):
            try:
                return before.plan, tuning.apply(before.plan, bundle, cores)
            except Refused:
                # Another engine may still run it.
                pass
        return tuning.choose(bundle, engines, cores)

    def _is_like(self, before: "Model") -> bool:
        """Whether it is the same network with other weights, as far as can be told."""
        same = self.info.kind is before.info.kind and self.info.input == before.info.input
        return same and abs(self._size - before._size) < before._size / 100
