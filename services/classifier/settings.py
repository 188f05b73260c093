"""The classifier's settings."""

import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field

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
    reload_seconds: float = Field(2.0, gt=0, description="How often the repository's aliases are read.")
    workers: int = Field(0, ge=0, description="Radiographs worked on at once. 0: one per core.")
    max_waiting: int = Field(256, ge=1, description="Requests that may wait; more are refused with a retry hint.")
    drift_window: int = Field(1000, ge=100, description="Newest answers of a model that drift is measured over.")
    audit_log: Path | None = Field(
        None, description="File that every answer is written down in, without the image. Empty: HOME/audit.jsonl."
    )
    execution_providers: tuple[str, ...] = Field(
        ("CUDAExecutionProvider", "CPUExecutionProvider"),
        description="ONNX Runtime's providers by preference; those not installed are passed over.",
    )

    @property
    def audit_file(self) -> Path:
        """The audit log's newest file."""
        return self.audit_log or self.home_folder / "audit.jsonl"

    @property
    def worker_count(self) -> int:
        """Radiographs worked on at once."""
        return self.workers or os.cpu_count() or 1
