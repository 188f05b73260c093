"""Prometheus reads all three servers, and what alerts and dashboards ask for is there."""

import json
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
import yaml

from canicor.client import Classifier
from canicor.model_repository import ModelRepository
from tests import toy_models
from tests.servers import Server, free_port, until

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/monitoring"
RUNBOOKS = ROOT / "docs/runbooks"
GROUPS = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
PANELS = [
    target["expr"]
    for path in sorted((MONITORING / "dashboards").glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]

OF_THE_MACHINE = {"CanicorDiskFull", "CanicorDiskFilling", "CanicorSlowFast", "CanicorSlowTrickle"}
"""Those that say the truth where the tests' own machine has a full disk, or is slow."""

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="There is no Prometheus: `apt-get install prometheus` brings one."
)


class Prometheus:
    """A real one, which reads servers every second."""

    def __init__(self, folder: Path, servers: list[Server]) -> None:
        self._address = f"127.0.0.1:{free_port()}"
        configuration = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["rule_files"] = [str(MONITORING / "rules.yaml")]
        for job in configuration["scrape_configs"]:
            (server,) = (one for one in servers if job["job_name"] == f"canicor-{one.name}")
            job["static_configs"] = [{"targets": [server.metrics_address]}]
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(configuration))
        options = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
        command = ["prometheus", *options, f"--web.listen-address={self._address}"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        assert any("ready to receive web requests" in line for line in self._process.stderr)
        # Nobody reads the rest, and a full pipe would stop it.
        self._reader = threading.Thread(target=self._process.stderr.read)
        self._reader.start()
        self.waits_for(self._reads_all)

    def ask(self, path: str, **parameters: str) -> dict:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]

    def waits_for(self, condition: Callable[[], bool]) -> None:
        """Asks until it is so: it answers within a millisecond, and takes new servers up every five seconds."""
        until(condition, tries=100_000)

    def families(self) -> set[str]:
        """Names of all metrics that the servers export, those without a value yet among them."""
        return {re.sub("_total$", "", name) for name in self.ask("metadata")}

    def states(self) -> dict[str, str]:
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: rule.get("state", rule["health"]) for rule in rules}

    def stop(self) -> None:
        self._process.kill()
        self._reader.join()
        self._process.communicate()

    def _reads_all(self) -> bool:
        targets = self.ask("targets")["activeTargets"]
        return len(targets) == 3 and all(target["health"] == "up" for target in targets)


def families_of(expression: str) -> set[str]:
    """The metrics of ours that an expression asks for."""
    names = re.findall(r"\bcanicor_\w+", re.sub(r'"[^"]*"', "", expression))
    return {re.sub("_(total|bucket|sum|count)$", "", name) for name in names}


@pytest.fixture
def watched(
    serve: Callable[..., Server], repository: ModelRepository, tmp_path: Path
) -> Iterator[tuple[Prometheus, dict[str, Server]]]:
    toy_models.push(repository)
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "chain", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["chain"]))
    certificate.private_key_pem.write_to_path(str(files["key"]))
    tls = {"CANICOR_TLS_CERTIFICATE": str(files["chain"]), "CANICOR_TLS_KEY": str(files["key"])}
    servers = {
        "classifier": serve("classifier", tls_ca=files["ca"], **tls),
        "generator": serve("generator"),
        "labeling": serve("labeling"),
    }
    prometheus = Prometheus(tmp_path, list(servers.values()))
    yield prometheus, servers
    prometheus.stop()


@needs_prometheus
def test_what_alerts_and_dashboards_ask_for_is_exported(watched: tuple[Prometheus, dict[str, Server]]) -> None:
    prometheus, _ = watched
    expressions = [rule["expr"] for rule in RULES] + PANELS
    asked = set().union(*map(families_of, expressions))
    assert asked, "there is something to look for"
    prometheus.waits_for(lambda: asked <= prometheus.families())
    for expression in expressions:
        prometheus.ask("query", query=expression.replace("$__rate_interval", "1m"))


@needs_prometheus
def test_a_server_that_is_killed_is_noticed(watched: tuple[Prometheus, dict[str, Server]], picture: bytes) -> None:
    prometheus, servers = watched
    with Classifier(servers["classifier"].client_settings()) as classifier:
        classifier.classify(picture)
    prometheus.waits_for(lambda: "unknown" not in prometheus.states().values())
    # On a busy machine a page of metrics may be late once.
    prometheus.waits_for(lambda: prometheus.states()["CanicorDown"] == "inactive")
    states = prometheus.states()
    raised = {alert["alert"] for alert in ALERTS if states[alert["alert"]] != "inactive"}
    assert raised <= OF_THE_MACHINE, "all is well, and no alert says otherwise"
    servers["labeling"].kill()
    prometheus.waits_for(lambda: prometheus.states()["CanicorDown"] == "pending")


@needs_prometheus
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "rules.yaml"],
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", "rules_test.yaml"],
    ],
)
def test_promtool_finds_nothing_wrong(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tried_both_ways() -> None:
    tests = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())["tests"]
    checks = [check for test in tests for check in test["promql_expr_test"]]
    samples = [sample["labels"] for check in checks for sample in check["exp_samples"]]
    for alert in ALERTS:
        assert any(f'alertname="{alert["alert"]}"' in labels for labels in samples), alert["alert"]


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert["alert"] for alert in ALERTS}
    for alert in ALERTS:
        name, severity = alert["alert"], alert["labels"]["severity"]
        assert alert["annotations"]["runbook"] == f"docs/runbooks/{name}.md"
        first = {"page": "Pages: somebody has to act now.", "ticket": "A ticket: it can wait for the morning."}
        assert (RUNBOOKS / f"{name}.md").read_text().startswith(f"# {name}\n\n{first[severity]}\n")


def test_links_of_runbooks_lead_somewhere() -> None:
    for path in RUNBOOKS.glob("*.md"):
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            assert (path.parent / link).is_file(), f"{path.name}: {link}"
