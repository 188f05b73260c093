"""One radiograph being read: decoded, run, judged. Each step may be done by another thread than the one before."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import HEAT_MAP, InputSpec
from canicor.model_input import Placement, Prepared
from services.classifier.answer import Answer, Output, Referral, answer, disagreement
from services.classifier.decoding import Decoders
from services.classifier.drift import Drift
from services.classifier.engines import Outputs
from services.classifier.model import Model
from services.classifier.scheduler import Job
from services.runtime import tracing


@dataclass(frozen=True)
class Classification:
    """An answer and what it took.

    Attributes:
        answer: What is said.
        model: That says it.
        sha256: Of the file, hexadecimal.
        seconds: By stage: `queue`, `decode`, `inference`, `total`.
        placement: Where the radiograph lay in the model's input.
        heat_map: The graph's, float32 [rows, columns], where it was asked for.
    """

    answer: Answer
    model: Model
    sha256: str
    seconds: dict[str, float]
    placement: Placement
    heat_map: NDArray[np.float32] | None


class Reading:
    """The steps, in their order: `decode`, `infer` for each of the models, `judge`.

    Args:
        image: The file.
        models: The one that answers, then those that are asked beside it.
        job: Checked before each step.
        decoders: Decode.
        heat_map: Whether to return the heat map of the one that answers.
    """

    def __init__(
        self, image: bytes, models: Sequence[Model], job: Job, decoders: Decoders, *, heat_map: bool = False
    ) -> None:
        self.models = models
        self._decoders = decoders
        self.job = job
        self._image = image
        self._inputs: dict[InputSpec, Prepared] = {}
        self._outputs: dict[Model, Output] = {}
        self._heat_map = heat_map
        self._seconds: dict[str, float] = {}
        self._arrived = self._last = time.perf_counter()
        self._call = tracing.current()

    def at_one_go(self, cores: int) -> Classification:
        """Takes all the steps; each inference may use so many cores."""
        self.decode()
        for model in self.models:
            self.infer(model, cores)
        return self.judge()

    def decode(self) -> None:
        """Makes the file what the models take.

        Raises:
            CanicorError: As `Decoders.read`; DeadlineExceeded as `Job.check`.
        """
        self._ends("queue")
        self.job.check("decode", sum(model.plan.seconds for model in self.models))
        for size in {model.info.input: None for model in self.models}:
            self._inputs[size] = self._decoders.read(self._image, size, self.job.deadline - time.monotonic())
        self._ends("decode")

    def pixels(self, model: Model) -> NDArray[np.uint8]:
        """Returns uint8 [height, width] as the model takes it."""
        return self._inputs[model.info.input].pixels

    def names(self, model: Model) -> list[str]:
        """Returns the outputs wanted of a model."""
        wanted = self._heat_map and model is self.models[0]
        return [name for name in model.outputs if wanted or name != HEAT_MAP]

    def infer(self, model: Model, cores: int) -> None:
        """Runs a model in this thread.

        Raises:
            DeadlineExceeded: As `Job.check`.
        """
        self.job.check("inference", model.plan.seconds)
        self.take(model, model.infer(self.pixels(model)[None], self.names(model), cores=cores))

    def take(self, model: Model, outputs: Outputs) -> None:
        """Takes a model's outputs, [1, ...] each, from where they were computed."""
        self._outputs[model] = Output(**{name: value[0] for name, value in outputs.items()})
        self._ends("inference")

    def judge(self) -> Classification:
        """Says what the outputs mean, by the rules of each model's bundle."""
        model, *others = self.models
        said = self._answer(model)
        found = [_disagreement(said, self._answer(other)) for other in others]
        said = replace(said, referrals=(*said.referrals, *(one for one in found if one)))
        digest = hashlib.sha256(self._image).hexdigest()
        self._seconds["total"] = time.perf_counter() - self._arrived
        placement = self._inputs[model.info.input].placement
        return Classification(said, model, digest, self._seconds, placement, self._outputs[model].heat_map)

    def tell(self, drift: Drift, said: Answer) -> None:
        """Tells of what came of it."""
        model = self.models[0]
        drift.observe(model, self._inputs[model.info.input], self._outputs[model], said)

    def _answer(self, model: Model) -> Answer:
        return answer(self._outputs[model], model.info, self._inputs[model.info.input])

    def _ends(self, stage: str) -> None:
        now = time.perf_counter()
        tracing.stage(stage, self._last, now, self._call)
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _disagreement(said: Answer, other: Answer) -> Referral | None:
    measured, classified = (said, other) if said.measurement else (other, said)
    return disagreement(measured, classified)
