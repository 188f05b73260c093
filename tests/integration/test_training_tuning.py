"""`canicor train tune`: workers on one database, on Ray, and what comes out of it."""

import json
import multiprocessing
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from canicor.bundle import ModelKind
from canicor.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from canicor.manifest import Row, write
from canicor.model_repository import ModelRepository
from canicor.settings import Settings
from tests.phantoms import phantom_rows
from training.commands import app
from training.tuning.study import SharedStudy

PHANTOMS = 24
TRIALS = 4
SMALL = ("--epochs", "2", "--size", "64")


def told_of(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    if result.exception:
        raise result.exception
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def written(folder: Path, rows: list[Row]) -> Path:
    path = folder / "manifest.parquet"
    path.write_bytes(write(rows))
    return path


def trials_of(storage: str, name: str) -> list[optuna.trial.FrozenTrial]:
    return SharedStudy(storage, name, TRIALS, 0).outcome().trials


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return phantom_rows(tmp_path_factory.mktemp("images"), PHANTOMS)


@pytest.fixture(scope="module")
def manifest(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("manifest"), rows)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def alone(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What one worker says, on its own SQLite file."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CANICOR_HOME", str(tmp_path_factory.mktemp("alone")))
        yield told_of("tune", manifest, "--kind", "keypoints", "--trials", TRIALS, *SMALL)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql")
        return url
    return f"sqlite:///{tmp_path / 'studies' / 'tuning.db'}"


def work(storage: str, trials: int, worker: int, all_are_at_work: Barrier) -> None:
    """A worker that ends its first trial when every other has one, too."""
    study = SharedStudy(storage, "shared", trials, seed=7)
    study.create({"dataset": "one"})

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        if not any(one.user_attrs.get("worker") == worker for one in trial.study.get_trials(deepcopy=False)):
            all_are_at_work.wait(60)
        trial.set_user_attr("worker", worker)
        return x**2

    study.work(objective, lambda _: None)


def test_workers_share_the_trials_of_a_study(storage: str) -> None:
    spawn, workers, ordered = multiprocessing.get_context("spawn"), 2, 10
    all_are_at_work = spawn.Barrier(workers)
    processes = [
        spawn.Process(target=work, args=(storage, ordered, worker, all_are_at_work)) for worker in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * workers
    trials = trials_of(storage, "shared")
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(finished) == ordered
    assert {trial.user_attrs["worker"] for trial in finished} == set(range(workers))
    # The same seed for all, and no choice twice.
    assert len({trial.params["x"] for trial in finished}) == ordered
    # Who came too late tried nothing.
    assert all(not trial.params for trial in trials if trial.state is not TrialState.COMPLETE)


def hang(storage: str) -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", -1, 1)
        signal.pause()
        return 0.0

    study = SharedStudy(storage, "shared", 2, seed=7)
    study.create({})
    study.work(objective, lambda _: None)


def test_a_trial_whose_worker_was_killed_is_done_by_another(postgresql: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hang, args=(postgresql,))
    process.start()
    engine = create_engine(postgresql.replace("postgresql:", "postgresql+psycopg:"))
    study = SharedStudy(postgresql, "shared", 2, seed=7)

    def at_work() -> bool:
        with engine.connect() as connection:
            tables = connection.scalar(text("SELECT to_regclass('trial_heartbeats')"))
            beats = tables and connection.scalar(text("SELECT count(*) FROM trial_heartbeats, trial_params"))
        return bool(beats)

    while not at_work():
        assert process.is_alive()
    process.kill()
    process.join()
    with engine.begin() as connection:
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 hour'"))
    engine.dispose()
    study.work(lambda trial: trial.suggest_float("x", -1, 1) ** 2, lambda _: None)
    killed, *others = study.outcome().trials
    assert killed.state is TrialState.FAIL
    assert [trial.state for trial in others] == [TrialState.COMPLETE] * 2
    assert killed.params["x"] in [trial.params["x"] for trial in others]


def test_two_commands_on_postgresql_find_together_what_one_finds(
    manifest: Path, alone: dict[str, Any], home: Path, postgresql: str
) -> None:
    arguments = ["tune", manifest, "--kind", "keypoints", "--trials", TRIALS, *SMALL, "--storage", postgresql]
    command = [sys.executable, "-m", "canicor.cli", "train", *map(str, arguments), "--json"]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [json.loads(worker.communicate()[0]) for worker in workers]
    states = [trial.state for trial in trials_of(postgresql, alone["study"])]
    assert states.count(TrialState.COMPLETE) == TRIALS
    for one in said:
        assert one["parameters"] == alone["parameters"]
        assert one["validation"]["value"] == pytest.approx(alone["validation"]["value"], rel=1e-3)


def test_ray_finds_what_one_worker_finds(
    manifest: Path, alone: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    # Else Ray leaves a token in the home folder of whoever runs the tests.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    arguments = ["tune", manifest, "--kind", "keypoints", "--trials", TRIALS, *SMALL, "--ray", "--json"]
    command = [sys.executable, "-m", "canicor.cli", "train", *map(str, arguments)]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    states = [trial.state for trial in trials_of(f"sqlite:///{home / 'training' / 'tuning.db'}", alone["study"])]
    assert states.count(TrialState.COMPLETE) == TRIALS
    assert said["parameters"] == alone["parameters"]
    assert said["validation"]["value"] == pytest.approx(alone["validation"]["value"], rel=1e-3)


def test_the_printed_command_trains_the_model_that_was_best(
    rows: list[Row], alone: dict[str, Any], home: Path
) -> None:
    from training.comparison import Answers
    from training.dataset import Images, split

    train, *options = shlex.split(alone["command"])[1:]
    assert train == "train"
    told_of(*options)
    bundle = ModelRepository(Settings().models).read("vhs-keypoints", "1")
    validation = [row for row in split(rows, 0) if row.split == "validation"]
    images = Images.load(validation, bundle.info.input, lambda: None)
    errors = Answers.of(bundle.model, ModelKind.KEYPOINTS, images).errors
    assert errors.mean() == pytest.approx(alone["validation"]["value"], rel=1e-2)
    assert alone["validation"]["lower"] <= errors.mean() <= alone["validation"]["upper"]


def test_the_test_split_decides_nothing(
    rows: list[Row], alone: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    from training.dataset import split

    others = phantom_rows(tmp_path / "others", PHANTOMS + 9)[PHANTOMS:]
    learnt = [row for row in split(rows, 0) if row.split != "test"]
    path = written(tmp_path, learnt + [replace(row, split="test") for row in others])
    said = told_of("tune", path, "--kind", "keypoints", "--trials", TRIALS, *SMALL)
    assert said["study"] != alone["study"]
    assert said["parameters"] == alone["parameters"]
    assert said["validation"]["value"] == alone["validation"]["value"]


def test_the_report_holds_all_it_needs(alone: dict[str, Any]) -> None:
    html = Path(alone["report"]).read_text()
    assert alone["command"] in html
    assert html.count("plotly-graph-div") >= 2
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", html)


def test_a_class_model_is_tuned_with_dropout_and_goes_on(manifest: Path, home: Path) -> None:
    model = ("--kind", "classifier", "--preset", "modern", "--no-stretch")
    arguments = ["tune", manifest, *model, *SMALL, "--seed", "3", "--study", "wards"]
    first = told_of(*arguments, "--trials", "1")
    assert set(first["parameters"]) == {
        "epochs",
        "learning_rate",
        "batch_size",
        "augmentation_strength",
        "dropout",
    }
    assert first["validation"]["name"] == "log loss"
    told_of(*arguments, "--trials", "2")
    told_of(*arguments, "--trials", "2")
    storage = f"sqlite:///{home / 'training' / 'tuning.db'}"
    went_on = trials_of(storage, "wards")
    afresh = told_of(*arguments[:-1], "afresh", "--trials", "2")
    assert "accuracy" in told_of(*shlex.split(afresh["command"])[2:], "--no-push")["metrics"]
    at_once = trials_of(storage, "afresh")
    assert [(one.params, one.value) for one in went_on] == [(one.params, one.value) for one in at_once]
    result = CliRunner().invoke(app, [*map(str, arguments), "--trials", "2"])
    assert "log loss on the validation split, of phantom images" in result.stdout
    # Neither another dataset's figures nor another size's mix with these.
    with pytest.raises(InvalidArgument, match="'wards' is of another size: give another --study"):
        told_of(*arguments, "--size", "96")


def test_a_study_of_another_dataset_is_refused(
    rows: list[Row], manifest: Path, home: Path, tmp_path: Path
) -> None:
    arguments = ("--kind", "keypoints", *SMALL, "--study", "wards", "--trials", "1")
    storage = f"sqlite:///{home / 'training' / 'tuning.db'}"
    SharedStudy(storage, "wards", 1, 0).create({"dataset": "0" * 64})
    with pytest.raises(InvalidArgument, match="The study 'wards' is of another dataset: give another --study"):
        told_of("tune", manifest, *arguments)


def test_a_study_without_a_trial_that_ended_says_so(storage: str) -> None:
    def prune(trial: optuna.Trial) -> float:
        raise optuna.TrialPruned

    study = SharedStudy(storage, "pruned", 2, 0)
    told: list[int] = []
    study.work(prune, told.append)
    assert told == [0, 1, 2]
    with pytest.raises(FailedPrecondition, match="No trial of the study 'pruned' came to its end"):
        study.outcome()


@pytest.mark.parametrize("url", ["mysql://canicor@host/name", "tuning.db", "postgresql"])
def test_a_storage_that_is_no_database_is_refused(manifest: Path, home: Path, url: str) -> None:
    with pytest.raises(InvalidArgument, match="--storage must be sqlite:///FILE or postgresql://"):
        told_of("tune", manifest, "--kind", "keypoints", "--storage", url)


@pytest.mark.parametrize(
    "url", ["postgresql://canicor:secret@127.0.0.1:1/canicor", "sqlite:////proc/none/tuning.db"]
)
def test_a_database_that_does_not_answer_is_told_in_a_sentence(manifest: Path, home: Path, url: str) -> None:
    with pytest.raises(Unavailable, match="does not answer") as raised:
        told_of("tune", manifest, "--kind", "keypoints", "--storage", url)
    assert "secret" not in raised.value.message


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--kind", "keypoints", "--trials", "0"), "Invalid value for '--trials'"),
        (("--kind", "heart"), "Invalid value for '--kind'"),
        ((), "Missing option '--kind'"),
    ],
)
def test_bad_options_are_told_in_a_sentence(manifest: Path, options: tuple[str, ...], sentence: str) -> None:
    result = CliRunner().invoke(app, ["tune", str(manifest), *options], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_bad_input_is_one_error_and_leaves_nothing(manifest: Path, home: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        told_of("tune", tmp_path / "none.parquet", "--kind", "keypoints")
    with pytest.raises(InvalidArgument, match="--model is an option of class models: give --kind classifier"):
        told_of("tune", manifest, "--kind", "keypoints", "--model", "resnet50")
    with pytest.raises(InvalidArgument, match="no preset 'none'"):
        told_of("tune", manifest, "--kind", "classifier", "--preset", "none")
    with pytest.raises(InvalidArgument, match="no backbone 'resnet5'"):
        told_of("tune", manifest, "--kind", "classifier", "--model", "resnet5")
    with pytest.raises(InvalidArgument, match=r"'\.\./wards' is no name of a study"):
        told_of("tune", manifest, "--kind", "keypoints", "--study", "../wards")
    with pytest.raises(InvalidArgument, match="multiple of 32"):
        told_of("tune", manifest, "--kind", "keypoints", "--size", "100")
    assert not home.exists()
