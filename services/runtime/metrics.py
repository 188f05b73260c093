"""What every server measures. Each service adds its own in its own rooms."""

import shutil
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter(
    "canicor_grpc_calls_total", "Calls that ended, by their gRPC status.", ["service", "method", "code"]
)
CALL_SECONDS = Histogram(
    "canicor_grpc_call_seconds",
    "Seconds from a call's arrival to its end; streams last as long as they are watched.",
    ["service", "method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
HOME_FREE = Gauge("canicor_home_free_bytes", "Bytes that are left on the file system of CANICOR_HOME.")
HOME_SIZE = Gauge("canicor_home_size_bytes", "Bytes that this file system has.")


def watch(home: Path) -> None:
    """Has the metrics page show how full a folder's file system is; makes the folder where it is missing."""
    home.mkdir(parents=True, exist_ok=True)
    HOME_FREE.set_function(lambda: shutil.disk_usage(home).free)
    HOME_SIZE.set_function(lambda: shutil.disk_usage(home).total)
