"""How much of the work that nobody waits for any more is still done: `python benchmarks/serving/abandoned.py`.

64 requests at once, a few rounds each way. First nobody gives up, which gives their queueing time: what they take
beyond a request alone, as a median. Then each client gives up after a quarter of it: once because its deadline
passes, which the server knows from the start, and once because it hangs up, which comes unannounced. An answer
that the server counts and no client got was computed for nothing; so was what CPU time the server takes after the
last client has left, divided by an answer's. The input of 600 makes queueing long beside the sending itself.
"""

import sys
import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from classifier import ANSWERS, STAGES, Classifier, serving
from clients import Plan, burst
from model import build
from processes import apart, own
from radiographs import OK, jpegs, truth
from raw import raw
from report import Finding, parser, report

CORES = 2
REQUESTS, MOST_COMPUTED = 64, 4
PATIENCE = 0.25
"""Of the queueing time."""

LONGEST = 120.0
"""Seconds that the slowest of the requests may take where nobody gives up."""


@dataclass(frozen=True)
class Round:
    """One burst.

    Attributes:
        latencies: Seconds, of what was answered.
        computed: Answers that the server counts, or inferences where those are more.
        cpu: CPU seconds of the server, in all and after the last client has left.
    """

    latencies: list[float]
    statuses: dict[str, int]
    computed: int
    cpu: float
    cpu_after: float

    @property
    def wasted(self) -> int:
        """Computed and given to nobody."""
        return self.computed - len(self.latencies)


def one_round(server: Classifier, helper: Executor, plan: Plan, count: int, settle: float) -> Round:
    """Sends a burst and waits until the server would be through with all of it."""
    computed, cpu = _computed(server), server.cpu()
    calls = helper.submit(burst, server.target, plan, count).result()
    left = server.cpu()
    time.sleep(settle)
    return Round(
        [one.seconds for one in calls.outcomes if one.status == OK],
        dict(calls.statuses()),
        _computed(server) - computed,
        server.cpu() - cpu,
        server.cpu() - left,
    )


def _computed(server: Classifier) -> int:
    return int(max(server.metric(ANSWERS), server.metric(STAGES, stage="inference")))


def measure(server: Classifier, helper: Executor, plan: Plan, rounds: int) -> list[Finding]:
    """Measures the queueing time, then both ways of giving up."""
    send = partial(one_round, server, helper)
    alone = median(send(plan, 1, 0.0).latencies[0] for _ in range(rounds))
    patient = [send(plan, REQUESTS, 0.0) for _ in range(rounds)]
    latencies = [seconds for each in patient for seconds in each.latencies]
    queueing, settle = median(latencies) - alone, max(latencies) + 1.0
    cost = median(each.cpu / REQUESTS for each in patient)
    findings = [
        Finding("queueing time of 64 requests at once", f"{1000 * queueing:.0f} ms"),
        Finding("CPU time of the server per answer", f"{1000 * cost:.1f} ms"),
    ]
    patience = PATIENCE * queueing
    for way, impatient in (
        ("the deadline passes", replace(plan, deadline=patience)),
        ("the client hangs up", replace(plan, impatient=1, patience=patience)),
    ):
        given_up = [send(impatient, REQUESTS, settle) for _ in range(rounds)]
        worst = max(given_up, key=lambda each: each.wasted)
        after = max(each.cpu_after for each in given_up)
        answered = ", ".join(f"{len(each.latencies)}" for each in given_up)
        findings += [
            Finding(f"answered within {1000 * patience:.0f} ms, where {way}", answered),
            Finding(
                f"computed for nobody, where {way} (worst of {rounds})",
                f"{worst.wasted} of {REQUESTS}",
                f"at most {MOST_COMPUTED}",
                worst.wasted <= MOST_COMPUTED,
            ),
            Finding(
                "CPU time after the last has left, as answers (worst)",
                f"{after / cost:.1f}",
                f"at most {MOST_COMPUTED}",
                after / cost <= MOST_COMPUTED,
            ),
        ]
    return findings


def main() -> int:
    options = parser("Counts what is still computed of requests whose clients have given up.")
    options.add_argument("--input", type=int, default=600, help="rows and columns of the input (default 600)")
    options.add_argument("--rounds", type=int, default=5, help="bursts of each kind (default 5)")
    arguments = options.parse_args()
    own(CORES)
    with apart() as helper:
        model = helper.submit(build, arguments.input).result()
    samples = jpegs()
    plan = Plan(samples, truth([raw(model, CORES)], samples), LONGEST)
    with apart() as helper, serving(model, arguments.input) as server:
        helper.submit(burst, server.target, plan, REQUESTS).result()  # warms up
        findings = measure(server, helper, plan, arguments.rounds)
    return report(findings, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
