"""One network fitted by two processes on one machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

from canicor.model_repository import Alias, ModelRepository
from canicor.store import file_url
from tests.integration.test_training import write_manifest
from tests.phantoms import phantom_rows


def together(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a program as two processes that share what they learn."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "CANICOR_HOME": str(folder / "home"),
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launch, *map(str, command)], env=environment, capture_output=True, text=True, check=False
    )


PROGRAM = """
import hashlib, json, os, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from tests.unit.test_training_fitting import bright_corners
from training.checkpoint import Checkpoint
from training.fitting import Recipe, fit, key_point_loss
from training.network import KeyPointNetwork

numbered = replace(bright_corners(30), classes=np.arange(30))
seen, losses = [], []

def loss_of(network, images, points, classes, seeds):
    seen.append(classes.tolist())
    return key_point_loss(network, images, points, classes, seeds)

def told(epoch, loss):
    losses.append(loss)

folder, epochs, checkpoint = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
left = Checkpoint(folder / checkpoint.format(rank=os.environ["RANK"]), "run")
network = fit(KeyPointNetwork, loss_of, numbered, Recipe(epochs=epochs, averaging=0.9), 0, told, left)
weights = hashlib.sha256(b"".join(one.detach().numpy().tobytes() for one in network.parameters())).hexdigest()
(folder / os.environ["RANK"]).write_text(json.dumps({"seen": seen, "losses": losses, "weights": weights}))
"""


def test_two_processes_see_different_images_and_learn_the_same(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = together(tmp_path, tmp_path / "program.py", tmp_path, "8", "left-0.pt")
    assert done.returncode == 0, done.stderr
    one, other = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert one["weights"] == other["weights"]
    assert one["losses"] == other["losses"]
    assert one["losses"][-1] < 0.8 * one["losses"][0]
    for epoch in range(8):
        # 30 images are two steps of at most 16.
        first, second = ([*half["seen"][2 * epoch], *half["seen"][2 * epoch + 1]] for half in (one, other))
        assert sorted(first + second) == list(range(30))
        assert abs(len(first) - len(second)) <= 2
    # Each with a checkpoint of its own, of which there is one: the first process would go on alone.
    done = together(tmp_path, tmp_path / "program.py", tmp_path, "9", "left-{rank}.pt")
    assert done.returncode != 0
    assert "do not see the same checkpoint" in done.stderr


def test_the_command_pushes_one_version_and_answers_once(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, phantom_rows(tmp_path / "images", 30))
    done = together(
        tmp_path, "-m", "canicor.cli", "train", "keypoints", path, "--epochs", "2", "--size", "64", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == "1"
    repository = ModelRepository(file_url(tmp_path / "home" / "models"))
    assert repository.versions("vhs-keypoints") == ["1"]
    assert repository.aliases("vhs-keypoints").aliases == {Alias.PRODUCTION: "1"}
    assert done.stderr.count("Reading images") == 1
    artefacts = tmp_path / "home" / "training" / "mlruns" / "artifacts"
    assert len(list(artefacts.iterdir())) == 1
