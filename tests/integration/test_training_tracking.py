"""What MLflow holds of a training run."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run

from canicor import manifest
from canicor.bundle import BundleInfo, ModelKind
from canicor.errors import Unavailable
from canicor.manifest import Row
from canicor.model_repository import ModelRepository
from canicor.store import file_url
from tests.integration.test_training import run, write_manifest
from tests.phantoms import phantom_rows
from tests.servers import free_port
from training.fitting import Recipe
from training.run import Plan, input_spec, train
from training.settings import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*:sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return phantom_rows(tmp_path_factory.mktemp("images"), 42)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "home"


def store(file: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{file}", f"sqlite:///{file}")


def runs_of(client: MlflowClient, experiment: str) -> list[Run]:
    """Oldest first."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id], order_by=["attributes.start_time"]))


def losses(client: MlflowClient, logged: Run) -> list[int]:
    return [metric.step for metric in client.get_metric_history(logged.info.run_id, "loss")]


def test_a_run_is_written_down_with_all_that_made_it_and_all_that_came_of_it(
    rows: list[Row], tmp_path: Path, home: Path
) -> None:
    path = write_manifest(tmp_path, rows)
    told = json.loads(run("keypoints", path, "--epochs", "2", "--size", "64", "--seed", "3", "--json"))
    client = store(home / "training" / "mlruns" / "mlflow.db")
    (logged,) = runs_of(client, "vhs-keypoints")
    bundle = ModelRepository(file_url(home / "models")).read("vhs-keypoints", "1")
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == told["training_run"] == bundle.info.training_run
    parameters = logged.data.params
    assert (parameters["kind"], parameters["seed"], parameters["input.width"]) == ("keypoints", "3", "64")
    assert float(parameters["recipe.learning_rate"]) > 0
    assert parameters["train_digest"] == bundle.info.training_dataset_digest
    assert parameters["test_digest"] == bundle.info.test_dataset_digest
    assert parameters["version.torch"]
    assert losses(client, logged) == [1, 2]
    for name, metric in bundle.info.metrics.items():
        said = [logged.data.metrics[f"test/{name}{end}"] for end in ("", "_lower", "_upper")]
        assert said == [metric.value, metric.lower, metric.upper]
    card, info = (
        Path(download_artifacts(f"{logged.info.artifact_uri}/{name}")).read_text()
        for name in ("card.md", "bundle.json")
    )
    assert card == bundle.card
    assert BundleInfo.model_validate_json(info).metrics == bundle.info.metrics


KILLED = """
import os, sys
from pathlib import Path
from canicor.manifest import read
from tests.integration.test_training_tracking import plan
from training.fitting import Recipe
from training.run import train

def progress(what, done, total):
    if what.startswith("Fitting") and done == 2:
        os.kill(os.getpid(), 9)

train(read(Path(sys.argv[1]).read_bytes()), plan(Path(sys.argv[2])), progress)
"""


def plan(folder: Path) -> Plan:
    spec = input_spec(64)
    tracking = f"sqlite:///{folder / 'logged.db'}"
    return Plan(ModelKind.CLASSIFIER, "hearts", spec, Recipe(epochs=3), checkpoints=folder, tracking=tracking)


def test_a_run_that_was_killed_or_failed_is_gone_on_with(rows: list[Row], tmp_path: Path) -> None:
    path = write_manifest(tmp_path, rows)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    client = store(tmp_path / "logged.db")
    (killed,) = runs_of(client, "hearts")
    assert killed.info.status == "RUNNING"

    def interrupted(what: str, _done: int, _total: int) -> None:
        if what.startswith("Fitting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(manifest.read(path.read_bytes()), plan(tmp_path), interrupted)
    (failed,) = runs_of(client, "hearts")
    assert failed.info.status == "FAILED"
    candidate = train(manifest.read(path.read_bytes()), plan(tmp_path), lambda *_: None)
    (finished,) = runs_of(client, "hearts")
    assert finished.info.run_id == killed.info.run_id
    assert finished.info.run_name == candidate.info.training_run
    assert finished.info.status == "FINISHED"
    assert losses(client, finished) == [1, 2, 3]
    # Pushed, it is over: the same command is another run.
    candidate.discard()
    train(manifest.read(path.read_bytes()), plan(tmp_path), lambda *_: None)
    assert len(runs_of(client, "hearts")) == 2


def test_a_store_that_does_not_answer_is_told_before_training(
    rows: list[Row], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_manifest(tmp_path, rows)
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "file").touch()
    for uri, sentence in {
        f"http://mia:secret@{address}": f"store http://{address} does not answer",
        f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}": "can't be written: .*File exists",
        "ftp://nowhere": "unsupported URI 'ftp://nowhere'",
    }.items():
        monkeypatch.setenv("CANICOR_MLFLOW_TRACKING_URI", uri)
        with pytest.raises(Unavailable, match=sentence) as refusal:
            run("keypoints", path, "--epochs", "1", "--size", "64")
        assert "secret" not in refusal.value.message
        assert "\n" not in refusal.value.message
    assert not home.exists()


def test_the_projects_own_setting_goes_before_mlflows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TrainingSettings().tracking == f"sqlite:///{home}/training/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs")
    assert TrainingSettings().tracking == "http://theirs"
    monkeypatch.setenv("CANICOR_MLFLOW_TRACKING_URI", "http://ours")
    assert TrainingSettings().tracking == "http://ours"
