"""The classifier's settings."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from services.classifier.engines import ENGINES, Engine
from services.runtime.settings import ServerSettings


class ClassifierSettings(ServerSettings):
    """Set by `CANICOR_` and a field's name in capitals."""

    service: ClassVar[str] = "classifier"

    classifier_listen: str = Field("127.0.0.1:8470", description="Host and port of the gRPC port.")
    classifier_metrics_listen: str = Field("127.0.0.1:9470", description="Host and port of Prometheus' page.")
    classifier_health_listen: str = Field(
        "", description="Host and port that answers grpc.health.v1 alone, without TLS, for probes. Empty: none."
    )
    default_model: str = Field("vhs-keypoints", description="Model that answers where a request names none.")
    second_model: str = Field(
        "vhs-classifier",
        description="Model that is asked beside one of the other kind, where it is in production: that they "
        "disagree is a reason to refer. A name that no model has: none is asked.",
    )
    reload_seconds: float = Field(2.0, gt=0, description="How often the repository's aliases are read.")
    workers: int = Field(
        0, ge=0, description="Cores to use: radiographs worked on at once. 0: all that this process may use."
    )
    engines: tuple[str, ...] = Field(
        tuple(ENGINES),
        description="What may run models; the fastest that gives a bundle's recorded predictions does. Those on a "
        "GPU go first.",
    )
    slowest_inference: float = Field(
        10.0, gt=0, description="Seconds that one inference may take; a slower model is refused."
    )
    max_waiting: int = Field(256, ge=1, description="Requests that may wait; more are refused with a retry hint.")
    max_waiting_bytes: int = Field(
        512 * 2**20, gt=0, description="What the radiographs of waiting requests may take up together."
    )
    drift_window: int = Field(1000, ge=100, description="Newest answers of a model that drift is measured over.")
    audit_log: Path | None = Field(
        None,
        description="File that every answer is written down in, without the image. Empty: HOME/audit.jsonl. `-`: "
        "standard output, for a log collector.",
    )

    @field_validator("engines")
    @classmethod
    def _check_engines(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(names) - set(ENGINES))
        if unknown or not names:
            raise ValueError(f"CANICOR_ENGINES takes one or more of {', '.join(ENGINES)}, not {unknown}.")
        return names

    @property
    def audit_file(self) -> Path | None:
        """The audit log's newest file; None for standard output."""
        return None if self.audit_log == Path("-") else self.audit_log or self.home_folder / "audit.jsonl"

    @property
    def chosen_engines(self) -> Sequence[Engine]:
        """What may run models."""
        return [ENGINES[name] for name in self.engines]

    @property
    def worker_count(self) -> int:
        """Cores to use."""
        return self.workers or _usable_cores()


def _usable_cores() -> int:
    """The cores that this process may run on, within the CPU limit of its container (cgroup v2, cpu.max)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else min(cores, max(1, math.floor(int(quota) / int(period))))
