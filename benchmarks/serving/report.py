"""What a script has found, beside what is wanted, as Markdown and as JSON; and what figures depend on."""

import json
import os
import platform
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One figure.

    Attributes:
        what: What was measured.
        figure: With its unit.
        wanted: What it should be; empty where nothing is asked of it.
        holds: Whether it is so.
    """

    what: str
    figure: str
    wanted: str = ""
    holds: bool = True


def parser(description: str) -> ArgumentParser:
    """Returns a parser with what every script takes."""
    made = ArgumentParser(description=description)
    made.add_argument("--json", type=Path, help="where to write the findings as well")
    return made


def report(findings: Sequence[Finding], file: Path | None) -> int:
    """Prints findings, writes them to a file if one is given, and returns the exit status: 1 where one fails."""
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    lines = [("what", "measured", "wanted", "holds"), ("---",) * 4]
    for one in findings:
        lines.append((one.what, one.figure, one.wanted, ("yes" if one.holds else "NO") if one.wanted else ""))
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if file:
        record = {"machine": machine(), "findings": [asdict(one) for one in findings]}
        file.write_text(json.dumps(record, indent=2) + "\n")
    return 0 if all(one.holds for one in findings) else 1


def machine() -> dict[str, str]:
    """Returns what the figures depend on."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    return {
        "CPU": f"{cpu.partition(': ')[2]}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("canicor", "onnxruntime", "grpcio", "numpy", "pillow")},
    }
