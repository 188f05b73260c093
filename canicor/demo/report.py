"""The demo's report: one HTML file with its pictures inside."""

import base64
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classify import Outcome
from canicor.messages import key_points_from
from canicor.vhs import KeyPoints, measure


@dataclass(frozen=True)
class Specimen:
    """One held-out phantom.

    Attributes:
        content: The PNG file.
        truth: Its exact points.
        answer: The classifier's.
    """

    content: bytes
    truth: KeyPoints
    answer: pb.ClassifyResponse


def write_report(
    path: Path, specimens: list[Specimen], figures: list[tuple[str, str]], outcomes: list[Outcome]
) -> Path:
    """Writes the report and returns its path.

    Args:
        path: The HTML file.
        specimens: Shown as pictures, true and found points drawn over them.
        figures: Name and value of each figure.
        outcomes: What became of the user's own files.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True)
    template = environment.from_string((files("canicor.demo") / "report.html.j2").read_text())
    own = [(outcome.file, outcome.record(), _own_picture(outcome)) for outcome in outcomes]
    pictures = [_picture(one.content, one.answer, one.truth) for one in specimens]
    notices = list(specimens[0].answer.notices)
    path.write_text(template.render(figures=figures, pictures=pictures, own=own, notices=notices))
    return path


def _own_picture(outcome: Outcome) -> dict[str, object] | None:
    """A picture of the user's own file, where a browser can show it."""
    if outcome.response is None or outcome.file.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        return None
    return _picture(outcome.file.read_bytes(), outcome.response, None)


def _picture(content: bytes, answer: pb.ClassifyResponse, truth: KeyPoints | None) -> dict[str, object]:
    from canicor.radiograph import decode

    radiograph = decode(content)
    found = key_points_from(answer.key_points) if answer.HasField("key_points") else None
    return {
        "data": base64.b64encode(content).decode(),
        "width": radiograph.width,
        "height": radiograph.height,
        "truth": truth.xy.tolist() if truth else None,
        "found": found.xy.tolist() if found else None,
        "true_vhs": measure(truth).vhs if truth else None,
        "vhs": answer.vhs.value if answer.HasField("vhs") else None,
        "decision": pb.Decision.Name(answer.decision).removeprefix("DECISION_"),
        "reasons": [one.message for one in answer.referrals],
    }
