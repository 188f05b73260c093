"""One folder for each experiment: `report.html`, to read, and `results.json`, to compute with."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from canicor.bundle import Metric
from canicor.errors import ResourceExhausted
from canicor.vhs import HEART_SIZES
from training.dataset import Images

REPORT, RESULTS = "report.html", "results.json"

WORST = 6
"""Pictures of what went wrong."""


@dataclass(frozen=True)
class Table:
    """Text in rows; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing of `training.experiments.charts`, and what it shows."""

    title: str
    drawing: Markup
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """An image at the model's input size.

    Attributes:
        content: The PNG file, base64.
        width, height: In pixels.
        labelled, found: Key points (x, y) in these pixels; empty where there are none.
        caption: What was said of it.
    """

    content: str
    width: int
    height: int
    labelled: Sequence[Sequence[float]]
    found: Sequence[Sequence[float]]
    caption: str


@dataclass(frozen=True)
class Report:
    """What an experiment found.

    Attributes:
        title: Its name.
        conclusion: In one plain sentence.
        explanation: How it was found and what it does not say, a paragraph each.
        results: Every figure, for `results.json`; metrics as they are.
        tables, charts, pictures: What shows it.
    """

    title: str
    conclusion: str
    explanation: Sequence[str]
    results: Mapping[str, Any]
    tables: Sequence[Table]
    charts: Sequence[Chart]
    pictures: Sequence[Picture] = field(default=())


def write(folder: Path, report: Report, made_by: Mapping[str, Any], notices: Sequence[str]) -> None:
    """Writes both files.

    Args:
        folder: Made where needed; files of the same names are replaced.
        report: What was found.
        made_by: Command, seed, digests, versions: what it takes to find it again.
        notices: What a reader must know before anything else.

    Raises:
        ResourceExhausted: The folder can't be written.
    """
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("training.experiments").joinpath("report.html.j2").read_text("utf-8"))
    results = {"title": report.title, "conclusion": report.conclusion, **made_by, "results": report.results}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULTS).write_text(json.dumps(results, indent=2, default=BaseModel.model_dump) + "\n", "utf-8")
        (folder / REPORT).write_text(
            template.render(report=report, made_by=made_by, notices=notices), encoding="utf-8"
        )
    except OSError as error:
        raise ResourceExhausted(f"{folder} can't be written: {error}.", reason="NO_SPACE") from error


def percent(metric: Metric) -> str:
    """Returns a share as percent with its interval."""
    return f"{100 * metric.value:.1f} ({100 * metric.lower:.1f} to {100 * metric.upper:.1f})"


def points(metric: Metric) -> str:
    """Returns a difference of shares in percentage points with its interval."""
    return f"{100 * metric.value:+.1f} ({100 * metric.lower:+.1f} to {100 * metric.upper:+.1f})"


def in_percent(metric: Metric) -> Metric:
    """Returns a share as percent, for a chart."""
    return Metric(value=100 * metric.value, lower=100 * metric.lower, upper=100 * metric.upper, count=metric.count)


def surest_errors(images: Images, classes: NDArray[np.int64], confidence: NDArray[np.floating]) -> list[Picture]:
    """Returns the images that were classified wrong with the highest confidence, at most `WORST`."""
    wrong = np.flatnonzero(classes != images.classes)
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST]
    pictures = []
    for number in chosen.tolist():
        row = images.rows[number]
        vhs = "" if row.vhs is None else f", VHS {row.vhs:.2f}"
        said = f"said {HEART_SIZES[classes[number]]} at {confidence[number]:.0%}"
        pictures.append(picture(images, number, [], f"Labelled {row.heart_size}{vhs}; {said}."))
    return pictures


def picture(images: Images, number: int, found: Sequence[Sequence[float]], caption: str) -> Picture:
    """Returns one of the images with its labelled points, where there are any, and those found."""
    pixels, labelled = images.pixels[number], images.points[number]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    height, width = pixels.shape
    known = labelled.tolist() if np.isfinite(labelled).all() else []
    return Picture(base64.b64encode(file.getvalue()).decode(), width, height, known, found, caption)
