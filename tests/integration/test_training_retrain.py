"""`canicor train retrain` on labels from a real labelling service."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from click import Context
from typer.main import get_command

from canicor.bundle import ModelKind
from canicor.client import translated
from canicor.errors import FailedPrecondition, NotFound, Unavailable
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.manifest import Row, digest
from canicor.messages import key_points_message
from canicor.model_repository import Alias, ModelRepository
from canicor.settings import Settings
from canicor.vhs import HeartSize
from tests import toy_models
from tests.integration.test_training import run, write_manifest
from tests.phantoms import phantom_rows
from tests.servers import Server
from training.commands import app
from training.dataset import split
from training.fitting import Recipe
from training.lineage import Lineage
from training.run import Plan

# Their VHS is above 100: all hearts are Large, and whatever has learnt a little is closer.
HOPELESS = [*toy_models.NORMAL_HEART[:5], [22, 5]]


class Clinic:
    """A labelling service and all who label there."""

    def __init__(self, server: Server) -> None:
        self.channel = server.channel()
        self.service = LabelingServiceStub(self.channel)

    def label(self, rows: list[Row], approved: int) -> None:
        """Imports images, labels them all as their rows say, and approves the first so many."""
        truth = {row.image_sha256: row for row in rows}
        contents = [
            pb.ImportImage(
                content=Path(urlsplit(row.image_url).path).read_bytes(),
                subject_id=row.subject_id,
                origin=pb.ORIGIN_PHANTOM,
            )
            for row in rows
        ]
        with translated():
            self.service.ImportImages(pb.ImportImagesRequest(project="hearts", images=contents))
            for number in range(len(rows)):
                task = self.service.LeaseTask(pb.LeaseTaskRequest(project="hearts")).task
                label = self.service.SubmitLabel(
                    pb.SubmitLabelRequest(
                        request_id=task.lease_id,
                        lease_id=task.lease_id,
                        key_points=key_points_message(truth[task.image.sha256].key_points),
                    )
                ).label
                if number < approved:
                    self.service.ReviewLabel(pb.ReviewLabelRequest(label_id=label.id, approval=pb.Approval()))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def clinic(home: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    server = serve("labeling")
    monkeypatch.setenv("CANICOR_LABELING_ADDRESS", server.address)
    clinic = Clinic(server)
    yield clinic
    clinic.channel.close()


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """What production was made from: no Large heart is in its test split."""
    made = phantom_rows(tmp_path / "images", 30)
    return split(
        [replace(row, split="train" if row.heart_size is HeartSize.LARGE else "") for row in made], seed=0
    )


def put_into_production(rows: list[Row], points: object, recipe: Recipe) -> None:
    """As if a model had been trained on these rows by this recipe, and now found these points everywhere."""
    repository = ModelRepository(Settings().models)
    train, test = ([row for row in rows if row.split == one] for one in ("train", "test"))
    plan = Plan(ModelKind.KEYPOINTS, "vhs-keypoints", toy_models.info().input, recipe).record()
    toy_models.push(
        repository,
        toy_models.keypoints_model(points),
        training_plan=plan,
        training_dataset_digest=digest(train),
        test_dataset_digest=digest(test),
    )
    Lineage(Settings().image_store, "vhs-keypoints").keep(rows)


def retrain(*options: str | Path) -> str:
    return run("retrain", "vhs-keypoints", "--project", "hearts", *options)


def test_what_beats_production_on_new_labels_becomes_the_candidate(
    clinic: Clinic, rows: list[Row], tmp_path: Path
) -> None:
    put_into_production(rows, HOPELESS, Recipe(epochs=4))
    base = write_manifest(tmp_path, [replace(row, split="") for row in rows])
    assert retrain("--base", base) == "vhs-keypoints stays as it is: 0 new labels, fewer than 100.\n"
    new = [row for row in phantom_rows(tmp_path / "new", 18, seed=6) if row.heart_size is not HeartSize.LARGE]
    # Another image of a dog that production was tested on.
    known = next(row for row in rows if row.split == "test")
    new[0] = replace(new[0], subject_id=known.subject_id)
    clinic.label(new, approved=9)
    assert "9 new labels, fewer than 10" in retrain("--base", base, "--new-labels", "10")
    repository = ModelRepository(Settings().models)
    assert repository.versions("vhs-keypoints") == ["1"]

    said = retrain("--base", base, "--new-labels", "9")
    assert said == (
        "vhs-keypoints/2 beats production and is the candidate: "
        "`canicor train promote vhs-keypoints 2` puts it into production.\n"
    )
    assert repository.aliases("vhs-keypoints").aliases == {Alias.PRODUCTION: "1", Alias.CANDIDATE: "2"}
    candidate = repository.read("vhs-keypoints", "2").info
    assert candidate.training_plan["recipe"]["epochs"] == 4
    after = Lineage(Settings().image_store, "vhs-keypoints").of(candidate)
    assert len(after) == len(rows) + 9
    of_image = {row.image_sha256: row for row in after}
    assert all(of_image[row.image_sha256].split == row.split for row in rows)
    assert of_image[new[0].image_sha256].split == "test"
    # The candidate has learnt from them.
    assert "0 new labels" in retrain("--base", base, "--new-labels", "1")
    run("promote", "vhs-keypoints", "2")
    assert "0 new labels" in retrain("--base", base, "--new-labels", "1")


def test_what_does_not_beat_production_is_told_once_and_left(
    clinic: Clinic, rows: list[Row], tmp_path: Path, home: Path
) -> None:
    put_into_production(rows, toy_models.NORMAL_HEART, Recipe(epochs=1, learning_rate=1e-9))
    new = phantom_rows(tmp_path / "new", 24, seed=6)
    clinic.label(new, approved=24)
    said = retrain("--new-labels", "20")
    assert "does not beat vhs-keypoints/1" in said
    # No dog of its test images is one that production has learnt from.
    assert "may have been trained" not in said
    assert "--force" not in said
    repository = ModelRepository(Settings().models)
    assert repository.versions("vhs-keypoints") == ["1"]
    assert repository.aliases("vhs-keypoints").aliases == {Alias.PRODUCTION: "1"}
    assert list((home / "training").glob("*.pt")) == []
    assert "0 new labels" in retrain("--new-labels", "1")


def test_what_is_missing_is_told_in_a_sentence(
    clinic: Clinic, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FailedPrecondition, match="no version in production: train one by"):
        retrain()
    repository = ModelRepository(Settings().models)
    toy_models.push(repository)
    with pytest.raises(FailedPrecondition, match="vhs-keypoints/1 does not say how it was trained"):
        retrain()
    plan = {"recipe": {"epochs": 1, "moon": "full"}, "seed": 0, "formats": [], "backbone": None, "dropout": 0.2}
    toy_models.push(repository, training_plan=plan)
    with pytest.raises(FailedPrecondition, match="vhs-keypoints/2 does not say how it was trained"):
        retrain()
    del plan["recipe"]["moon"]
    toy_models.push(repository, training_plan=plan)
    with pytest.raises(NotFound, match="is not in the image store: train it anew"):
        retrain()
    with pytest.raises(NotFound):
        retrain("--base", "none.parquet")
    monkeypatch.setenv("CANICOR_LABELING_ADDRESS", "127.0.0.1:1")
    with pytest.raises(Unavailable):
        retrain()


def test_the_cron_job_runs_a_command_that_there_is() -> None:
    file = Path(__file__).parents[2] / "deploy/kustomize/components/training/retrain.yaml"
    (job,) = (one for one in yaml.safe_load_all(file.read_text()) if one["kind"] == "CronJob")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    program, group, *arguments = container["command"]
    assert (program, group) == ("canicor", "train")
    (command,) = get_command(app).resolve_command(Context(get_command(app)), arguments)[1:2]
    context = command.make_context("retrain", arguments[1:])
    assert (context.params["name"], context.params["new_labels"]) == ("vhs-keypoints", 100)
