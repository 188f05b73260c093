"""What every server measures of its calls. Each service adds its own in its own rooms."""

from prometheus_client import Counter, Histogram

CALLS = Counter(
    "canicor_grpc_calls_total", "Calls that ended, by their gRPC status.", ["service", "method", "code"]
)
CALL_SECONDS = Histogram(
    "canicor_grpc_call_seconds",
    "Seconds from a call's arrival to its end; streams last as long as they are watched.",
    ["service", "method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
