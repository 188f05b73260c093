"""`canicor classify`: radiographs from files and folders, answers as a table or as JSON lines."""

import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.client import Classifier
from canicor.errors import (
    CanicorError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from canicor.messages import heart_size_from, key_points_from
from canicor.vhs import HEART_SIZES

# The same would be said of every further file.
_FATAL = (FailedPrecondition, PermissionDenied, Unauthenticated, Unavailable)

# Enough to keep a server's cores busy while files are read.
_AT_ONCE = 4


@dataclass(frozen=True)
class Outcome:
    """What became of one file: an answer or an error."""

    file: Path
    response: pb.ClassifyResponse | None = None
    error: CanicorError | None = None

    def record(self) -> dict[str, Any]:
        """Returns what `--json` prints."""
        if self.error is not None:
            return {"file": str(self.file), "error": {"code": self.error.status, "message": self.error.message}}
        response = self.response or pb.ClassifyResponse()
        return {
            "file": str(self.file),
            "class": _heart_size(response),
            "probabilities": _probabilities(response),
            "prediction_set": [str(heart_size_from(one)) for one in response.prediction_set],
            "vhs": response.vhs.value if response.HasField("vhs") else None,
            "vhs_interval": [response.vhs.lower, response.vhs.upper] if response.HasField("vhs") else None,
            "key_points": _key_points(response),
            "decision": pb.Decision.Name(response.decision).removeprefix("DECISION_"),
            "reasons": [one.message for one in response.referrals],
            "reason_codes": [_code(one) for one in response.referrals],
            "model": response.model.name,
            "version": response.model.version,
            "notices": list(response.notices),
        }


def run(paths: list[Path], *, model: str, as_json: bool, deadline: float) -> bool:
    """Classifies files, prints what came of each, and returns whether all were answered.

    Args:
        paths: Files, or folders whose files are taken, also those of folders inside.
        model: `NAME` or `NAME/VERSION`; empty for the server's default.
        as_json: Print one object a line as answers come, instead of a table at the end.
        deadline: Seconds that one radiograph may take.

    Raises:
        NotFound: A path does not exist.
        CanicorError: The server can't be reached, has no model, or refuses the token.
    """
    files = list(_files(paths))
    if not files:
        raise InvalidArgument("There is no file in these folders.", reason="NO_FILE")
    console = Console(stderr=True)
    outcomes = []
    with Classifier(deadline=deadline) as classifier:
        stream = classify_files(classifier, files, model)
        for outcome in track(stream, "Classifying", len(files), console=console, disable=len(files) == 1):
            outcomes.append(outcome)
            if as_json:
                print(json.dumps(outcome.record()), flush=True)
            if isinstance(outcome.error, _FATAL):
                raise outcome.error
    if not as_json:
        show(outcomes, Console(file=sys.stdout))
    return all(outcome.error is None for outcome in outcomes)


def classify_files(classifier: Classifier, files: Iterable[Path], model: str = "") -> Iterator[Outcome]:
    """Classifies files, some at once, and yields what became of each in their order."""

    def classify(file: Path) -> Outcome:
        try:
            return Outcome(file, classifier.classify(file.read_bytes(), model=model))
        except CanicorError as error:
            return Outcome(file, error=error)
        except OSError as error:
            return Outcome(file, error=NotFound(f"The file can't be read: {error.strerror}.", reason="FILE"))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(classify, files)


def show(outcomes: list[Outcome], console: Console) -> None:
    """Prints a table with a row per file, then why files were referred or not answered, then the notices."""
    console.print(_table(outcomes))
    for outcome in outcomes:
        for reason in _reasons(outcome):
            console.print(f"{outcome.file.name}: {reason}", highlight=False, markup=False)
    notices = dict.fromkeys(notice for one in outcomes if one.response for notice in one.response.notices)
    for notice in notices:
        console.print(notice, highlight=False)


def _reasons(outcome: Outcome) -> list[str]:
    if outcome.error is not None:
        return [f"{outcome.error.status}. {outcome.error.message}"]
    return list(outcome.record()["reasons"])


def _table(outcomes: Iterable[Outcome]) -> Table:
    rows = Table(Column("File", overflow="fold"), "Class", "VHS", "Small, Normal, Large", "Decision", "Model")
    for outcome in outcomes:
        name = escape(outcome.file.name)
        record = outcome.record()
        if outcome.error is not None:
            rows.add_row(name, "", "", "", "[red]no answer[/]", "")
            continue
        colour = "green" if record["decision"] == "ACCEPT" else "yellow"
        probabilities = record["probabilities"] or {}
        rows.add_row(
            name,
            record["class"] or "-",
            _vhs_with_interval(outcome.response),
            ", ".join(f"{value:.2f}" for value in probabilities.values()) or "-",
            f"[{colour}]{record['decision']}[/]",
            f"{record['model']}/{record['version']}",
        )
    return rows


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise NotFound(f"There is no file or folder {str(path)!r}.", reason="FILE")
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file())
        else:
            yield path


def _heart_size(response: pb.ClassifyResponse) -> str | None:
    return str(heart_size_from(response.heart_size)) if response.heart_size else None


def _probabilities(response: pb.ClassifyResponse) -> dict[str, float] | None:
    if not response.HasField("probabilities"):
        return None
    values = (response.probabilities.small, response.probabilities.normal, response.probabilities.large)
    return dict(zip(HEART_SIZES, values, strict=True))


def _code(referral: pb.Referral) -> str:
    return pb.ReferralReason.Name(referral.reason).removeprefix("REFERRAL_REASON_")


def _key_points(response: pb.ClassifyResponse) -> list[list[float]] | None:
    if not response.HasField("key_points"):
        return None
    return [[round(x, 2), round(y, 2)] for x, y in key_points_from(response.key_points).xy.tolist()]


def _vhs_with_interval(response: pb.ClassifyResponse | None) -> str:
    if response is None or not response.HasField("vhs"):
        return "-"
    return f"{response.vhs.value:.2f} ({response.vhs.lower:.2f} to {response.vhs.upper:.2f})"
