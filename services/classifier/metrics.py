"""What the classifier measures beside its calls."""

from prometheus_client import Counter, Gauge, Histogram

ANSWERS = Counter("canicor_classifier_answers_total", "Answers.", ["model", "version", "heart_size", "decision"])
REFERRALS = Counter("canicor_classifier_referrals_total", "Reasons to refer.", ["model", "reason"])
STAGE_SECONDS = Histogram(
    "canicor_classifier_stage_seconds",
    "Seconds that one radiograph spends in a stage.",
    ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
WAITING = Gauge("canicor_classifier_waiting", "Requests that were taken in and are not yet answered.")
SHED = Counter("canicor_classifier_shed_total", "Requests refused because too many waited.")
RELOADS = Counter("canicor_classifier_reloads_total", "Tries to load a version.", ["model", "result"])
MODEL_INFO = Gauge("canicor_classifier_model_info", "1 for each loaded version.", ["model", "version", "provider"])
