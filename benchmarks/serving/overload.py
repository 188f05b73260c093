"""Three times the load that the classifier can bear: `python benchmarks/serving/overload.py [--input 600]`.

Its capacity is what eight clients that ask without a pause get answered, before and after. Between, calls come
evenly at three times that rate, whatever became of those before (open loop), each with a deadline and none sent
twice. Goodput is what was answered rightly and in time. A refusal counts where the server gave it, not where the
deadline passed, and its time runs from sending to it. The clients are a process of their own on the same cores:
what they take is missing from the server, most of all with a small model, where receiving a radiograph costs much
of an answer. Hence --input 600, with about seven times the work of 224.
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from statistics import fmean

import numpy as np
from classifier import Classifier, Memory, serving
from clients import Calls, Outcome, Plan, closed, paced
from model import SIDE, build
from processes import apart, own
from radiographs import OK, jpegs, truth
from raw import raw
from report import Finding, parser, report

CORES, CLIENTS, TIMES = 2, 8, 3.0
LEAST_GOODPUT, MOST_REFUSAL_SECONDS = 0.9, 0.05
LEAST_RATE = 0.98
"""Of the rate that was asked for: below, the clients were too slow for an open loop."""

LARGEST_GROWTH = 0.05
"""Of resident memory that counts as flat, from the first third of the overload to the last."""

CAPACITY_SECONDS, MEMORY_SECONDS = 10.0, 0.5
REFUSED = "RESOURCE_EXHAUSTED"


def run(server: Classifier, helper: Executor, plan: Plan, seconds: float) -> list[Finding]:
    """Measures the capacity, overloads, and measures it again."""

    def capacity() -> float:
        return float(helper.submit(closed, server.target, plan, CLIENTS, CAPACITY_SECONDS).result().per_second())

    capacity()  # warms up
    before = capacity()
    with Memory(server.pid, MEMORY_SECONDS) as memory:
        cpu = server.cpu()
        calls = helper.submit(paced, server.target, plan, TIMES * before, seconds).result()
        cpu = server.cpu() - cpu
    time.sleep(plan.deadline)
    after = capacity()
    return [
        Finding("capacity before, after", f"{before:.1f}, {after:.1f} answers/s"),
        *findings(calls, TIMES * before, fmean((before, after))),
        flat(memory, calls),
        Finding(
            "CPU of the server, of the clients", f"{_share(cpu, calls)}, {_share(calls.cpu, calls)} of the cores"
        ),
    ]


def findings(calls: Calls, asked: float, capacity: float) -> list[Finding]:
    """Compares what was answered with the capacity, and says how the rest ended."""
    goodput = calls.per_second()
    offered = len(calls.outcomes) / (max(one.sent for one in calls.outcomes) - calls.start)
    answered = [one for one in calls.outcomes if one.status == OK]
    refused = [one for one in calls.outcomes if one.status == REFUSED]
    others = calls.statuses()
    del others[OK], others[REFUSED]
    soon = sum(one.seconds <= MOST_REFUSAL_SECONDS for one in refused)
    hinted = sum(one.hinted for one in refused)
    return [
        Finding(
            "offered",
            f"{offered:.1f} calls/s, {offered / capacity:.2f} times the capacity",
            f"{asked:.1f} calls/s",
            offered >= LEAST_RATE * asked,
        ),
        Finding("calls sent late, p99", f"{1000 * float(np.quantile(calls.lateness, 0.99)):.0f} ms"),
        Finding(
            "goodput",
            f"{goodput:.1f} answers/s, {goodput / capacity:.2f} of the capacity",
            f"at least {LEAST_GOODPUT:g}",
            goodput >= LEAST_GOODPUT * capacity,
        ),
        Finding("answered", f"{len(answered)}; {_times(answered)}"),
        Finding("refused", f"{len(refused)}; {_times(refused)}"),
        Finding(f"refused within {1000 * MOST_REFUSAL_SECONDS:.0f} ms", f"{soon}", "all", soon == len(refused)),
        Finding("refused with a retry hint", f"{hinted}", "all", hinted == len(refused)),
        Finding("neither answered nor refused", str(dict(others) or 0), "0", not others),
    ]


def flat(memory: Memory, calls: Calls) -> Finding:
    """Compares the resident memory in the first third of the overload with that in the last."""
    third = (calls.end - calls.start) / 3
    early, late = memory.median(calls.start, calls.start + third), memory.median(calls.end - third, calls.end)
    most = max(mib for _, mib in memory.samples)
    return Finding(
        "resident memory, first third, last third, most",
        f"{early:.0f}, {late:.0f}, {most:.0f} MiB",
        f"grows by at most {LARGEST_GROWTH:.0%}",
        late <= (1 + LARGEST_GROWTH) * early,
    )


def _times(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "no times"
    p50, p99, longest = 1000 * np.quantile([one.seconds for one in outcomes], (0.5, 0.99, 1.0))
    return f"p50 {p50:.0f}, p99 {p99:.0f}, longest {longest:.0f} ms"


def _share(cpu: float, calls: Calls) -> str:
    return f"{cpu / (calls.end - calls.start) / CORES:.0%}"


def main() -> int:
    options = parser("Offers the classifier three times the load that it can bear.")
    options.add_argument("--input", type=int, default=SIDE, help=f"rows and columns of the input (default {SIDE})")
    options.add_argument("--seconds", type=float, default=60.0, help="of overload (default 60)")
    options.add_argument("--deadline", type=float, default=1.0, help="seconds of each call (default 1)")
    arguments = options.parse_args()
    own(CORES)
    with apart() as helper:
        model = helper.submit(build, arguments.input).result()
    samples = jpegs()
    plan = Plan(samples, truth([raw(model, CORES)], samples), arguments.deadline)
    with apart() as helper, serving(model, arguments.input) as server:
        found = run(server, helper, plan, arguments.seconds)
    return report(found, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
