"""What the classifier measures beside its calls."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

ANSWERS = Counter("canicor_classifier_answers_total", "Answers.", ["model", "version", "heart_size", "decision"])
REFERRALS = Counter("canicor_classifier_referrals_total", "Reasons to refer.", ["model", "reason"])
CONFIDENCE = Histogram(
    "canicor_classifier_confidence",
    "Probability of the class that was answered, from 0 to 1.",
    ["model", "version"],
    buckets=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
)
STAGE_SECONDS = Histogram(
    "canicor_classifier_stage_seconds",
    "Seconds that one radiograph spends in a stage.",
    ["stage"],
    buckets=_SECONDS,
)
BATCH_SIZE = Histogram(
    "canicor_classifier_batch_size", "Radiographs that were run together.", buckets=(1, 2, 4, 8, 16, 32)
)
WAITING = Gauge("canicor_classifier_waiting", "Requests that were taken in and are not yet answered.")
WAITING_BYTES = Gauge("canicor_classifier_waiting_bytes", "Bytes of the radiographs of waiting requests.")
SHED = Counter("canicor_classifier_shed_total", "Requests refused when they came, by why.", ["reason"])
for reason in ("QUEUE_FULL", "BUSY"):
    SHED.labels(reason)
DROPPED = Counter(
    "canicor_classifier_dropped_total",
    "Requests dropped before a step: their callers had left, or would have.",
    ["step", "reason"],
)
SHARED = Counter("canicor_classifier_shared_total", "Requests answered by the work on the same file for another.")

RELOADS = Counter("canicor_classifier_reloads_total", "Tries to load a version.", ["model", "result"])
MODEL_INFO = Gauge("canicor_classifier_model_info", "1 for each loaded version.", ["model", "version", "engine"])

SHADOW_ANSWERS = Counter(
    "canicor_classifier_shadow_answers_total",
    "Radiographs that a version in the shadow scored, by its class and production's.",
    ["model", "version", "heart_size", "production_heart_size"],
)
SHADOW_VHS_DIFFERENCE = Histogram(
    "canicor_classifier_shadow_vhs_difference",
    "VHS by the version in the shadow less production's, in vertebrae.",
    ["model", "version"],
    buckets=(-2, -1, -0.5, -0.25, -0.1, 0, 0.1, 0.25, 0.5, 1, 2),
)
SHADOW_DROPPED = Counter(
    "canicor_classifier_shadow_dropped_total", "Radiographs not scored in the shadow, for want of free cores."
)
