"""Settings of training."""

import os
from pathlib import Path

from pydantic import Field

from canicor.settings import Settings


class TrainingSettings(Settings):
    """Where runs are written down and taken up again."""

    mlflow_tracking_uri: str = Field(
        "",
        description="MLflow server or database that runs are written to. Empty: MLFLOW_TRACKING_URI, without it "
        "HOME/training/mlruns.",
    )

    @property
    def training_folder(self) -> Path:
        """What stopped runs, studies and experiments go on from."""
        return self.home_folder / "training"

    @property
    def tracking(self) -> str:
        """URI of the MLflow store."""
        local = self.training_folder / "mlruns" / "mlflow.db"
        return self.mlflow_tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{local}"
