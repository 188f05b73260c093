"""Runs of training, written down in MLflow: what went in, the loss of each epoch, what came out.

MLflow, the one way in: its telemetry is off. It reports each call to its maker unless this variable is set before
the import.
"""

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# Standard output is for a command's answer.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from mlflow import MlflowClient
from mlflow.entities import Metric as LoggedMetric
from mlflow.entities import Param, RunStatus
from mlflow.entities import Run as LoggedRun
from mlflow.exceptions import MlflowException, RestException
from sqlalchemy.exc import SADeprecationWarning, SQLAlchemyError

from canicor.bundle import Metric
from canicor.errors import Unavailable

# What it notes, of tables that it makes and calls that it repeats, is of no use to a user.
logging.getLogger("mlflow").setLevel(logging.ERROR)

_RUN = "canicor.run"
"""The tag that holds a run's identity."""

_SQLITE = "sqlite:///"

# A server that is not there shows at once: by default MLflow asks for four minutes.
_AT_FIRST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class Run:
    """One run; this one is written down nowhere.

    Attributes:
        name: Of the run; one that is taken up again keeps its own.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def loss(self, number: int, loss: float) -> None:
        """Writes down the mean loss of an epoch, or of a step where there are no epochs; numbers begin at 1."""

    def result(self, metrics: Mapping[str, Metric], files: Mapping[str, str]) -> None:
        """Writes down metrics with their intervals, and what the model's text files hold, by their names."""


@dataclass(frozen=True)
class Identity:
    """By which a run that was stopped is found again.

    Attributes:
        digest: Over all that makes the run: data, seed and recipe.
        begun: Whether there is something to go on from. What ended well is taken up only then.
    """

    digest: str
    begun: bool


@contextmanager
def logged(
    tracking: str | None, experiment: str, name: str, parameters: Mapping[str, object], identity: Identity | None
) -> Iterator[Run]:
    """Writes down a run until the end of the block: `FINISHED`, or `FAILED` where it raises.

    Args:
        tracking: URI of the MLflow store, http(s), SQLite or another that MLflow knows; None writes nothing. A
            SQLite file is made where needed, and artefacts lie beside it.
        experiment: Under which it appears.
        name: Of a new run.
        parameters: What went in; nested ones are written down by their paths (`recipe.epochs`).
        identity: Of the run; None for one that is never taken up again.

    Raises:
        Unavailable: The store does not answer or refuses; at the beginning within half a minute.
    """
    if tracking is None:
        yield Run(name)
        return
    with _translating(tracking), _environment(_AT_FIRST):
        client = _client(tracking)
        run = _taken_up(client, _experiment(client, tracking, experiment), name, parameters, identity)
    status = RunStatus.FAILED
    try:
        yield _Logged(tracking, client, run)
        status = RunStatus.FINISHED
    finally:
        with _translating(tracking):
            client.set_terminated(run.info.run_id, RunStatus.to_string(status))


class _Logged(Run):
    """A run in MLflow."""

    def __init__(self, tracking: str, client: MlflowClient, run: LoggedRun) -> None:
        super().__init__(str(run.info.run_name))
        self._tracking = tracking
        self._client = client
        self._id = run.info.run_id

    def loss(self, number: int, loss: float) -> None:
        with _translating(self._tracking):
            self._client.log_metric(self._id, "loss", loss, step=number)

    def result(self, metrics: Mapping[str, Metric], files: Mapping[str, str]) -> None:
        figures: dict[str, float] = {}
        for name, metric in metrics.items():
            figures |= {name: metric.value, f"{name}_lower": metric.lower, f"{name}_upper": metric.upper}
        with _translating(self._tracking):
            now = time.time_ns() // 1_000_000
            logged = [LoggedMetric(f"test/{name}", value, now, 0) for name, value in figures.items()]
            self._client.log_batch(self._id, logged)
            for name, content in files.items():
                self._client.log_text(self._id, content, name)


def _client(tracking: str) -> MlflowClient:
    if tracking.startswith(_SQLITE):
        # MLflow would do it too, but tries ten times where it can't.
        Path(tracking.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # MLflow's tables use what SQLAlchemy 2.1 will take away one day.
        warnings.simplefilter("ignore", SADeprecationWarning)
        return MlflowClient(tracking, tracking)


def _experiment(client: MlflowClient, tracking: str, name: str) -> str:
    """Returns the id of an experiment, made where there is none."""
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    beside = Path(tracking.removeprefix(_SQLITE)).absolute().parent / "artifacts"
    return client.create_experiment(name, beside.as_uri() if tracking.startswith(_SQLITE) else None)


def _taken_up(
    client: MlflowClient, experiment: str, name: str, parameters: Mapping[str, object], identity: Identity | None
) -> LoggedRun:
    """Returns the run of this identity that was stopped, or a new one."""
    if identity:
        same = f"tags.`{_RUN}` = '{identity.digest}'"
        before = client.search_runs([experiment], same, max_results=1, order_by=["attributes.start_time DESC"])
        for run in before:
            if identity.begun or run.info.status != RunStatus.to_string(RunStatus.FINISHED):
                client.update_run(run.info.run_id, RunStatus.to_string(RunStatus.RUNNING))
                return run
    run = client.create_run(experiment, tags={_RUN: identity.digest} if identity else {}, run_name=name)
    client.log_batch(run.info.run_id, params=[Param(*one) for one in _flat(parameters)])
    return run


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _translating(tracking: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        parts = urlsplit(tracking)
        # Without the password that a URI may hold.
        shown = tracking.replace(parts.netloc, parts.netloc.rpartition("@")[2])
        answered = isinstance(error, RestException) or not parts.scheme.startswith("http")
        why = f": {str(error).splitlines()[0].replace(tracking, shown).rstrip('.')}" if answered else ""
        raise Unavailable(
            f"MLflow's store {shown} does not answer or can't be written{why}. The same command goes on from the "
            "last checkpoint.",
            reason="TRACKING_UNAVAILABLE",
        ) from error
