"""Where images are made."""

from services.generator.executors.executor import Executor
from services.generator.executors.local import LocalExecutor

__all__ = ["Executor", "LocalExecutor", "named"]


def named(name: str, workers: int, store_url: str, gpus: float | None = None) -> Executor:
    """Returns an executor, at work.

    Args:
        name: `local` or `ray`.
        workers: How many images are made at once; 0 for one for each core, on Ray for each GPU if there are any.
        store_url: Where they are stored.
        gpus: That each worker asks Ray for; None for 1 where the cluster has any.

    Raises:
        FailedPrecondition: The workers can't reach the store, or Ray is not installed or can't be reached.
    """
    if name == "local":
        return LocalExecutor(workers)
    from services.generator.executors.ray import RayExecutor

    return RayExecutor(workers, store_url, gpus)
