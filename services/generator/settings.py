"""The generator's settings."""

from typing import ClassVar, Literal

from pydantic import Field

from canicor.pipeline import Computing
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

    ray_gpus: float | None = Field(
        None,
        ge=0,
        description="On Ray, GPUs that each worker asks for, so that a cluster that grows brings them. Empty: 1 "
        "where the cluster has any as the server starts, else 0.",
    )

    diffusers_precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="What text-to-image pipelines compute in. auto: fp16 on a GPU, fp32 on a CPU."
    )
    diffusers_batch_size: int = Field(
        0, ge=0, le=8, description="Images that such a pipeline makes at once. 0: 8 on a GPU, 1 on a CPU."
    )
    diffusers_compile: bool = Field(
        False, description="Compile their UNet on a GPU: slower to start, then faster."
    )

    @property
    def computing(self) -> Computing:
        """How text-to-image pipelines compute images."""
        return Computing(self.diffusers_precision, self.diffusers_batch_size, self.diffusers_compile)

    @property
    def database(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.home_folder / 'generator.db'}"
