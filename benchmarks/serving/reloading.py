"""Ten reloads under full load: `python benchmarks/serving/reloading.py [--rest 30] [--seconds 60]`.

Eight clients ask without a pause. First nothing happens, which gives the p99 at rest. Then, evenly over the given
seconds, ten new versions are pushed and put in production in the repository, as any pipeline would. Every version
gives other probabilities, so that each answer can be held against what the version it names says of that very
radiograph. The server's count and its audit log tell whether each request was answered exactly once.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from classifier import ANSWERS, Classifier, Memory, serving
from clients import Calls, Outcome, Plan, closed
from model import SIDE, build, variants
from processes import apart, own
from radiographs import OK, jpegs, truth
from raw import raw
from report import Finding, parser, report

CORES, CLIENTS, RELOADS = 2, 8, 10
MOST_SLOWER = 2.0
DEADLINE = 30.0
WARM_UP_SECONDS, SETTLE_SECONDS, MEMORY_SECONDS = 2.0, 5.0, 0.5


@dataclass(frozen=True)
class Reload:
    """A version that was put in production, and when (time.perf_counter)."""

    version: str
    moment: float


def reload_all(server: Classifier, models: Sequence[bytes], every: float) -> list[Reload]:
    """Puts each model in production, one after the other."""
    done = []
    for model in models:
        due = time.perf_counter() + every
        version = server.push(model)
        done.append(Reload(version, time.perf_counter()))
        time.sleep(max(0.0, due - time.perf_counter()))
    return done


def findings(calls: Calls, reloads: Sequence[Reload], rest_end: float) -> list[Finding]:
    """Compares the time of the reloads with that at rest, and each answer with what it should be."""
    begun = calls.start + WARM_UP_SECONDS
    rest = [one for one in calls.outcomes if begun <= one.sent and one.ended <= rest_end]
    later = [one for one in calls.outcomes if one.sent >= rest_end]
    taken_up = {one.version: one.ended for one in sorted(later, key=lambda one: one.ended, reverse=True)}
    spans = [(each.moment, taken_up[each.version]) for each in reloads if each.version in taken_up]
    near = [one for one in later if any(one.sent <= end and one.ended >= start for start, end in spans)]
    wrong = calls.statuses()
    answered = wrong.pop(OK, 0)
    stale, at_rest = _stale(calls.outcomes), _p99(rest)
    return [
        Finding("answers", f"{answered}; {len(rest) / (rest_end - begun):.1f} a second at rest"),
        Finding("failed, wrong or mixed-up answers", str(dict(wrong) or 0), "0", not wrong),
        Finding("asked after a newer version had answered, answered by an older", str(stale), "0", not stale),
        Finding("reloads taken up", f"{len(spans)} of {len(reloads)}", "all", len(spans) == len(reloads)),
        Finding("longest from alias to answer", f"{max(end - start for start, end in spans):.2f} s"),
        Finding("p99 at rest", f"{1000 * at_rest:.0f} ms"),
        _slower("p99 of all sent while reloading", later, at_rest),
        _slower("p99 of what was in flight between an alias and its first answer", near, at_rest),
        Finding("longest while reloading", f"{1000 * max(one.seconds for one in later):.0f} ms"),
        Finding("CPU of the clients", f"{calls.cpu / (calls.end - calls.start) / CORES:.0%} of the cores"),
    ]


def _slower(what: str, outcomes: Sequence[Outcome], at_rest: float) -> Finding:
    p99 = _p99(outcomes)
    figure = f"{1000 * p99:.0f} ms, {p99 / at_rest:.2f} times"
    return Finding(what, figure, f"at most {MOST_SLOWER:g} times", p99 <= MOST_SLOWER * at_rest)


def _p99(outcomes: Sequence[Outcome]) -> float:
    return float(np.quantile([one.seconds for one in outcomes], 0.99))


def _stale(outcomes: Sequence[Outcome]) -> int:
    """Counts the answers of a version older than one that had answered before they were asked for."""
    answered = [one for one in outcomes if one.version]
    ends = sorted((one.ended, int(one.version)) for one in answered)
    newest, position, stale = 0, 0, 0
    for one in sorted(answered, key=lambda one: one.sent):
        while position < len(ends) and ends[position][0] < one.sent:
            newest = max(newest, ends[position][1])
            position += 1
        stale += int(one.version) < newest
    return stale


def exactly_once(calls: Calls, counted: float, audit: Path) -> list[Finding]:
    """Holds what the clients got against what the server counted and wrote down."""
    answered = {one.request_id for one in calls.outcomes if one.version}
    lines = Counter(json.loads(line)["request_id"] for line in audit.read_text().splitlines())
    written = sum(lines[request_id] == 1 for request_id in answered)
    return [
        Finding("answers that the server counts", f"{counted:.0f}", str(len(answered)), counted == len(answered)),
        Finding(
            "answers in the audit log exactly once", str(written), str(len(answered)), written == len(answered)
        ),
    ]


def run(
    server: Classifier, helper: Executor, plan: Plan, models: Sequence[bytes], rest: float, seconds: float
) -> list[Finding]:
    """Runs the clients, reloads under their load, and returns what came of it."""
    counted = server.metric(ANSWERS)
    with Memory(server.pid, MEMORY_SECONDS) as memory:
        running = helper.submit(closed, server.target, plan, CLIENTS, rest + seconds)
        time.sleep(rest)
        rest_end = time.perf_counter()
        reloads = reload_all(server, models, seconds / len(models))
        calls = running.result()
        time.sleep(SETTLE_SECONDS)
        counted = server.metric(ANSWERS) - counted
        now = time.perf_counter()
    before = memory.median(rest_end - SETTLE_SECONDS, rest_end)
    after = memory.median(now - SETTLE_SECONDS, now)
    most = max(mib for _, mib in memory.samples)
    return [
        *findings(calls, reloads, rest_end),
        *exactly_once(calls, counted, server.home / "audit.jsonl"),
        Finding("resident memory before, most, after", f"{before:.0f}, {most:.0f}, {after:.0f} MiB"),
    ]


def main() -> int:
    options = parser("Reloads models under full load.")
    options.add_argument("--input", type=int, default=SIDE, help=f"rows and columns of the input (default {SIDE})")
    options.add_argument("--rest", type=float, default=30.0, help="seconds before the first reload (default 30)")
    options.add_argument("--seconds", type=float, default=60.0, help="seconds of the reloads (default 60)")
    arguments = options.parse_args()
    own(CORES)
    with apart() as helper:
        models = helper.submit(variants, helper.submit(build, arguments.input).result(), RELOADS + 1).result()
    samples = jpegs()
    plan = Plan(samples, truth([raw(model, CORES) for model in models], samples), DEADLINE)
    with apart() as helper, serving(models[0], arguments.input) as server:
        found = run(server, helper, plan, models[1:], arguments.rest, arguments.seconds)
    return report(found, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
