"""The settings of the labeling service."""

from typing import ClassVar

from pydantic import Field

from services.runtime.settings import ServerSettings


class LabelingSettings(ServerSettings):
    """Where it listens, where its labels lie, and how long a task stays with a labeller."""

    service: ClassVar[str] = "labeling"

    labeling_listen: str = Field("127.0.0.1:8472", description="Host and port of the labeling service.")
    labeling_metrics_listen: str = Field("127.0.0.1:9472", description="Host and port of its Prometheus page.")
    labeling_health_listen: str = Field(
        "", description="Host and port that answers grpc.health.v1 alone, without TLS, for probes. Empty: none."
    )
    labeling_http_listen: str = Field(
        "127.0.0.1:8473",
        description="Host and port of the labelling page, and of the API in JSON (docs/api.md).",
    )
    database_url: str = Field(
        "", description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME. Empty: HOME/labeling.db."
    )
    classifier_address: str = Field("127.0.0.1:8470", description="Host and port of the classifier.")
    generator_address: str = Field("127.0.0.1:8471", description="Host and port of the generator.")
    lease_seconds: float = Field(
        600.0, ge=10, le=86400, description="How long a task stays with a labeller who asks for no duration."
    )

    @property
    def database(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.home_folder / 'labeling.db'}"
