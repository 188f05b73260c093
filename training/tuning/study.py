"""An Optuna study that workers share by its database: they do so many trials together, and none gets stuck.

Whoever asks when all places are taken gives its trial back, so there are never more than were ordered. A worker
that dies stops beating; what it was at is then another's, who waits for that where there is nothing else to do.
"""

import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import TrialState
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from canicor.errors import FailedPrecondition, InvalidArgument, Unavailable

# It becomes the report's file name, too.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
# How long to wait for a connection; and for SQLite's lock, which its writers take in turns.
_OPTIONS: dict[str, dict[str, Any]] = {"sqlite": {"timeout": 60}, "postgresql": {"connect_timeout": 5}}

_HEARTBEAT_SECONDS = 30
# Four beats: a worker may be busy, and what is taken from one that lives is done twice.
_GRACE_SECONDS = 120
# A choice that takes three workers with it, say for want of memory, is given up.
_RETRIES = 3
_WAIT_SECONDS = 1.0
# More than there are tables.
_TRIES = 20

# Tenths of a run: while the learning rate is high, figures jump and say little of how it ends.
_WARM_UP_STEPS = 5

_TAKEN = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)


class _NoPlaceLeft(Exception):
    """Another worker took the last one in the meantime."""


@dataclass(frozen=True)
class SharedStudy:
    """Where a study is, and how long it goes on.

    Attributes:
        storage: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.
        name: The study's.
        trials: That its workers are to finish together.
        seed: Of what is tried; with it, a trial's number and the trials before decide.

    Raises:
        InvalidArgument: That is no name.
    """

    storage: str
    name: str
    trials: int
    seed: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidArgument(
                f"{self.name[:80]!r} is no name of a study: use 1 to 64 of a-z, 0-9, - and _.",
                reason="BAD_NAME",
                field="study",
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return _parsed(self.storage).get_backend_name() == "sqlite"

    def create(self, subject: dict[str, Any]) -> None:
        """Makes the study, or takes it up where it is about the same.

        Args:
            subject: What it is about, kept as its user attributes.

        Raises:
            InvalidArgument: It is about something else, or the URL names no such database.
            Unavailable: The database does not answer.
        """
        with self._opened() as study:
            for name, value in subject.items():
                if study.user_attrs.get(name) is None:
                    study.set_user_attr(name, value)
            for name, value in subject.items():
                if study.user_attrs[name] != value:
                    raise InvalidArgument(
                        f"The study {self.name!r} is of another {name}: give another --study.",
                        reason="OTHER_STUDY",
                        field="study",
                    )

    def work(self, objective: Callable[[optuna.Trial], float], told: Callable[[int], None]) -> None:
        """Does trials until all of the study's are finished, whoever does them.

        Args:
            objective: Returns a trial's figure, the lower the better.
            told: Called with the number of trials finished.

        Raises:
            Unavailable: The database does not answer.
        """
        with self._opened() as study:

            def placed(trial: optuna.Trial) -> float:
                others = study.get_trials(deepcopy=False, states=_TAKEN)
                if sum(other.number < trial.number for other in others) >= self.trials:
                    raise _NoPlaceLeft
                seeds = np.random.SeedSequence((self.seed, trial.number))
                # Workers with the same seed would else all begin with the same choice.
                study.sampler = optuna.samplers.TPESampler(seed=int(seeds.generate_state(1)[0]))
                return objective(trial)

            while True:
                fail_stale_trials(study)
                taken = study.get_trials(deepcopy=False, states=_TAKEN)
                finished = sum(trial.state.is_finished() for trial in taken)
                told(finished)
                if finished >= self.trials:
                    return
                if len(taken) < self.trials:
                    study.optimize(placed, n_trials=1, catch=(_NoPlaceLeft,))
                else:
                    time.sleep(_WAIT_SECONDS)

    def finished(self) -> int:
        """Returns how many trials are finished.

        Raises:
            Unavailable: The database does not answer.
        """
        with self._opened() as study:
            return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def outcome(self) -> optuna.Study:
        """Returns the study as it is now, apart from its database, with a best trial.

        Raises:
            FailedPrecondition: No trial came to its end.
            Unavailable: The database does not answer.
        """
        with self._opened() as study:
            if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                raise FailedPrecondition(
                    f"No trial of the study {self.name!r} came to its end: give more --trials.", reason="NO_TRIAL"
                )
            copied = optuna.create_study(study_name=self.name)
            copied.add_trials(study.get_trials())
            return copied

    @contextmanager
    def _opened(self) -> Iterator[optuna.Study]:
        with warnings.catch_warnings():
            # What they announce, heartbeats and retries, has been there since 2021.
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            storage = _connect(_parsed(self.storage))
            try:
                yield optuna.create_study(
                    storage=storage,
                    study_name=self.name,
                    pruner=optuna.pruners.MedianPruner(n_warmup_steps=_WARM_UP_STEPS),
                    load_if_exists=True,
                )
            except (OperationalError, StorageInternalError) as error:
                raise _unavailable(storage.engine.url) from error
            finally:
                storage.engine.dispose()


def _parsed(storage: str) -> URL:
    try:
        url = make_url(storage)
        return url.set(drivername=_DRIVERS[url.drivername.partition("+")[0]])
    except (ArgumentError, KeyError) as error:
        raise InvalidArgument(
            "--storage must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
            reason="STORAGE_URL",
            field="storage",
        ) from error


def _connect(url: URL) -> RDBStorage:
    options = {"connect_args": _OPTIONS[url.get_backend_name()], "pool_pre_ping": True}
    engine = create_engine(url, **options)
    try:
        if url.get_backend_name() == "sqlite" and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine.connect().close()
    except (OperationalError, OSError) as error:
        raise _unavailable(url) from error
    finally:
        engine.dispose()

    def opened() -> RDBStorage:
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=options,
            heartbeat_interval=_HEARTBEAT_SECONDS,
            grace_period=_GRACE_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES),
        )

    # Workers that start at once make the same tables; each failure is a table that another has made.
    for _ in range(_TRIES):
        with suppress(DBAPIError):
            return opened()
    return opened()


def _unavailable(url: URL) -> Unavailable:
    return Unavailable(
        f"The database {url.render_as_string()} does not answer: is it running, and may you use it?",
        reason="DATABASE_UNAVAILABLE",
    )
