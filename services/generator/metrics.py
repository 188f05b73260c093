"""What the generator measures."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from services.generator.curation import Verdict

IMAGES = Counter("canicor_generator_images_total", "Images made, stored or streamed.", ["backend"])
BATCHES = Gauge("canicor_generator_batches", "Batches by where they stand.", ["state"])
IMAGE_SECONDS = Histogram(
    "canicor_generator_image_seconds",
    "Seconds that a worker took to make, encode and judge one image.",
    ["backend"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

VERDICTS = Counter(
    "canicor_generator_verdicts_total", "Images of batches that ended well, by verdict.", ["verdict"]
)


def count_image(backend: str, seconds: float) -> None:
    """Counts an image that took so many seconds to make."""
    IMAGES.labels(backend).inc()
    IMAGE_SECONDS.labels(backend).observe(seconds)


def count_verdicts(verdicts: Mapping[Verdict, int]) -> None:
    """Counts what curation said of a batch's images."""
    for verdict, count in verdicts.items():
        VERDICTS.labels(verdict.lower()).inc(count)
