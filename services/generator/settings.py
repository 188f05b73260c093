"""The generator's settings."""

from typing import ClassVar, Literal

from pydantic import Field

from services.generator.curation.settings import CurationSettings
from services.runtime.settings import ServerSettings


class GeneratorSettings(ServerSettings, CurationSettings):
    """Where the generator listens, what it generates with, where it keeps its batches, and how it judges them."""

    service: ClassVar[str] = "generator"

    generator_listen: str = Field("127.0.0.1:8471", description="Host and port of the gRPC port.")
    generator_metrics_listen: str = Field("127.0.0.1:9471", description="Host and port of Prometheus' page.")
    generator_health_listen: str = Field(
        "", description="Host and port that answers grpc.health.v1 alone, without TLS, for probes. Empty: none."
    )
    database_url: str = Field(
        "", description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME. Empty: HOME/generator.db."
    )
    generator_backend: Literal["diffusers", "phantom"] = Field(
        "phantom", description="The backend where a request names none: phantom or diffusers."
    )
    executor: Literal["local", "ray"] = Field(
        "local",
        description="Where images are made: local, in processes of this machine, or ray, on the cluster that "
        "RAY_ADDRESS names.",
    )
    client_images: int = Field(
        2_000_000,
        ge=1,
        description="Images that one client may have outstanding: of batches that have not ended, not made yet.",
    )
    workers: int = Field(
        0, ge=0, description="Images made at once. 0: one for each core, on Ray for each GPU where there are any."
    )

    @property
    def database(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.home_folder / 'generator.db'}"
