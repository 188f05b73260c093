"""One radiograph being read: decoded, run, judged. Each step may be done by another thread than the one before."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import InputSpec
from canicor.model_input import Placement, read
from services.classifier.answer import Answer, Output, answer, disagreement
from services.classifier.engines import Outputs
from services.classifier.model import Model
from services.classifier.scheduler import Job


@dataclass(frozen=True)
class Classification:
    """An answer and what it took.

    Attributes:
        answer: What is said.
        model: That says it.
        sha256: Of the file, hexadecimal.
        seconds: By stage: `queue`, `decode`, `inference`, `total`.
    """

    answer: Answer
    model: Model
    sha256: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Input:
    """A radiograph as one model takes it."""

    pixels: NDArray[np.uint8]
    placement: Placement
    pixel_aspect: tuple[float, float]


class Reading:
    """The steps, in their order: `decode`, `infer` for each of the models, `judge`.

    Args:
        image: The file.
        models: The one that answers, then those that are asked beside it.
        job: Checked before each step.
    """

    def __init__(self, image: bytes, models: Sequence[Model], job: Job) -> None:
        self.models = models
        self.job = job
        self._image = image
        self._inputs: dict[InputSpec, _Input] = {}
        self._outputs: dict[Model, Outputs] = {}
        self._seconds: dict[str, float] = {}
        self._arrived = self._last = time.perf_counter()

    def at_one_go(self, cores: int) -> Classification:
        """Takes all the steps; each inference may use so many cores."""
        self.decode()
        for model in self.models:
            self.infer(model, cores)
        return self.judge()

    def decode(self) -> None:
        """Makes the file what the models take.

        Raises:
            CanicorError: As `canicor.radiograph.decode`; DeadlineExceeded as `Job.check`.
        """
        self._ends("queue")
        self.job.check("decode", sum(model.plan.seconds for model in self.models))
        for size in {model.info.input: None for model in self.models}:
            radiograph, pixels, placement = read(self._image, size.height, size.width, size.resize)
            self._inputs[size] = _Input(pixels, placement, radiograph.pixel_aspect)
        self._ends("decode")

    def pixels(self, model: Model) -> NDArray[np.uint8]:
        """Returns uint8 [height, width] as the model takes it."""
        return self._inputs[model.info.input].pixels

    def infer(self, model: Model, cores: int) -> None:
        """Runs a model in this thread.

        Raises:
            DeadlineExceeded: As `Job.check`.
        """
        self.job.check("inference", model.plan.seconds)
        self.take(model, model.infer(self.pixels(model)[None], cores=cores))

    def take(self, model: Model, outputs: Outputs) -> None:
        """Takes a model's outputs, [1, ...] each, from where they were computed."""
        self._outputs[model] = outputs
        self._ends("inference")

    def judge(self) -> Classification:
        """Says what the outputs mean, by the rules of each model's bundle."""
        said, *others = (self._answer(model) for model in self.models)
        found = [referral for other in others if (referral := disagreement(said, other))]
        said = replace(said, referrals=(*said.referrals, *found))
        self._seconds["total"] = time.perf_counter() - self._arrived
        return Classification(said, self.models[0], hashlib.sha256(self._image).hexdigest(), self._seconds)

    def _answer(self, model: Model) -> Answer:
        given = self._inputs[model.info.input]
        output = Output(**{name: value[0] for name, value in self._outputs[model].items()})
        return answer(output, model.info, given.placement, given.pixel_aspect)

    def _ends(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now
