"""What the labeling service measures beside its calls."""

from prometheus_client import Counter, Gauge

LABELS = Counter("canicor_labels_total", "Labels placed, by the class that follows.", ["heart_size"])
REJECTS = Counter("canicor_rejects_total", "Images rejected, by reason.", ["reason"])
LEASES = Counter("canicor_leases_total", "Tasks leased or renewed.")
SUGGESTIONS = Counter(
    "canicor_suggestions_total", "Images that a model was asked about, by its answer.", ["answer"]
)
OPEN_TASKS = Gauge(
    "canicor_open_tasks", "Labels that are wanted, leased or not, counted every 15 seconds.", ["project"]
)

for answer in ("points", "none"):
    SUGGESTIONS.labels(answer)
