"""Contestants beside raw: ratios to the raw rows around them, and the table of it all."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from meter import Row

HEADS = (
    *("server", "at once", "images/s", "of raw", "p50 ms", "of raw lone", "p99 ms", "CPU ms/image", "of raw"),
    *("failed", "RSS MiB", "others' CPU"),
)


@dataclass(frozen=True)
class Compared:
    """A measurement and its ratios to raw.

    Attributes:
        speed: Of images per second, to raw on all cores.
        lone: Of p50, to raw's for one image at a time; None where several were in flight.
        cpu: Of CPU time per image, to raw on all cores.
    """

    row: Row
    speed: float
    lone: float | None
    cpu: float


@dataclass(frozen=True)
class NotMeasured:
    """A contestant that could not be installed or started."""

    name: str
    reason: str


Result = Compared | NotMeasured


def compare(row: Row, raw: Sequence[Sequence[Row]]) -> Compared:
    """Compares a row with the means of raw's turns around it, each by its better configuration."""
    most = [max((one for one in turn if one.at_once > 1), key=lambda one: one.per_second) for turn in raw]
    soonest = fmean(min(one.p50 for one in turn if one.at_once == 1) for turn in raw)
    return Compared(
        row,
        speed=row.per_second / fmean(one.per_second for one in most),
        lone=row.p50 / soonest if row.at_once == 1 else None,
        cpu=row.cpu / fmean(one.cpu for one in most),
    )


def table(results: Iterable[Result]) -> str:
    """Returns results as Markdown, one line a contestant and number of clients: medians, and all failures."""
    measured: dict[tuple[str, int], list[Compared]] = {}
    missing: dict[str, str] = {}
    for result in results:
        if isinstance(result, NotMeasured):
            missing[result.name] = result.reason
        else:
            measured.setdefault((result.row.name, result.row.at_once), []).append(result)
    lines: list[Sequence[str]] = [HEADS, ["---"] * len(HEADS), *(_line(same) for same in measured.values())]
    # The table keeps the last line of a reason, where Python says what was wrong; the record has all of it.
    for name, reason in missing.items():
        lines.append([name, f"not measured: {reason.strip().splitlines()[-1]}", *[""] * (len(HEADS) - 2)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(same: Sequence[Compared]) -> list[str]:
    rows = [one.row for one in same]
    failures: Counter[str] = Counter()
    for row in rows:
        failures.update(row.failures)
    lone = [one.lone for one in same if one.lone is not None]
    return [
        rows[0].name,
        str(rows[0].at_once),
        f"{median(row.per_second for row in rows):.1f}",
        f"{median(one.speed for one in same):.2f}",
        f"{median(row.p50 for row in rows):.1f}",
        f"{median(lone):.2f}" if lone else "",
        f"{median(row.p99 for row in rows):.1f}",
        f"{median(row.cpu for row in rows):.1f}",
        f"{median(one.cpu for one in same):.2f}",
        ", ".join(f"{count} {kind}" for kind, count in failures.items()) or "0",
        f"{median(row.rss for row in rows):.0f}",
        f"{median(row.others for row in rows):.0%}",
    ]
