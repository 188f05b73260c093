"""Trials over a Ray cluster: tasks that work on one study, as many at once as the cluster has room for."""

import copy
import logging
import os
from collections.abc import Callable

from canicor.errors import InvalidArgument
from training.tuning.search import Objective
from training.tuning.study import SharedStudy

_TOLD_SECONDS = 5.0


def spread(study: SharedStudy, objective: Objective, told: Callable[[int], None]) -> None:
    """Works on a study until it is finished, on the cluster that RAY_ADDRESS names or else on this machine.

    Args:
        study: In a database that every machine of the cluster reaches.
        objective: Sent to each machine once, its images with it.
        told: Called with the number of trials finished.

    Raises:
        InvalidArgument: The cluster has several machines, and the study is on this one.
        CanicorError: As `SharedStudy.work`.
    """
    # Before the import: else Ray reports to its makers how it is used.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        require_reach(study, sum(node["Alive"] for node in ray.nodes()))  # type: ignore[no-untyped-call]
        task = ray.remote(num_cpus=1)(_work)
        shared = ray.put(objective)
        pending = [task.remote(study, shared) for _ in range(study.trials)]
        finished = 0
        while pending:
            done, pending = ray.wait(pending, timeout=_TOLD_SECONDS)
            ray.get(done)
            before, finished = finished, study.finished()
            if finished > before:
                told(finished)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    finally:
        ray.shutdown()


def require_reach(study: SharedStudy, machines: int) -> None:
    """Stops where the cluster has several machines and the study is in a file.

    Raises:
        InvalidArgument: It is so.
    """
    if machines > 1 and study.is_local:
        raise InvalidArgument(
            f"Ray has {machines} machines and the study is a file on one: "
            "give a --storage that all reach, postgresql://USER:PASSWORD@HOST/NAME.",
            reason="LOCAL_STORAGE",
            field="storage",
        )


def _work(study: SharedStudy, objective: Objective) -> None:
    # Ray's arrays can't be written to, and torch wants those that can.
    study.work(copy.deepcopy(objective), lambda _: None)
