"""What is applied to a cluster is what the code has: ports, probes, settings, metrics, names."""

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import REGISTRY

import services.classifier.metrics
import services.generator.metrics
import services.labeling.metrics  # noqa: F401
from canicor.classifier.v1 import classifier_pb2, open_inference_pb2
from canicor.settings import ClientSettings
from services.classifier.settings import ClassifierSettings
from services.generator.settings import GeneratorSettings
from services.labeling.settings import LabelingSettings
from training.settings import TrainingSettings

ROOT = Path(__file__).parents[2]
KUSTOMIZE = ROOT / "deploy/kustomize"
MONITORING = ROOT / "deploy/monitoring"
OVERLAYS = sorted(path.name for path in (KUSTOMIZE / "overlays").iterdir())

SETTINGS: dict[str, list[Any]] = {
    "classifier": [ClassifierSettings],
    "generator": [GeneratorSettings],
    # It calls the other two itself.
    "labeling": [LabelingSettings, ClientSettings],
    "retrain": [TrainingSettings, ClientSettings],
}
# Their schemas come with the operators that know them.
OPERATORS = {
    "cert-manager.io/v1",
    "external-secrets.io/v1",
    "gateway.networking.k8s.io/v1",
    "monitoring.coreos.com/v1",
}

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="There is no kubectl.")
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)

Manifest = dict[str, Any]


def built(overlay: str) -> list[Manifest]:
    return kustomized(KUSTOMIZE / "overlays" / overlay)


@cache
def kustomized(folder: Path) -> list[Manifest]:
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(overlay: str, kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in built(overlay) if one["kind"] == kind}


def pods(overlay: str) -> dict[str, Manifest]:
    """Templates of pods by the name that they carry."""
    deployments = [one["spec"]["template"] for one in of_kind(overlay, "Deployment").values()]
    jobs = [one["spec"]["jobTemplate"]["spec"]["template"] for one in of_kind(overlay, "CronJob").values()]
    return {one["metadata"]["labels"]["app.kubernetes.io/name"]: one for one in deployments + jobs}


def container(pod: Manifest) -> Manifest:
    (only,) = pod["spec"]["containers"]
    return dict(only)


def environment(pod: Manifest) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container(pod).get("env", [])}


def ports(pod: Manifest) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(pod).get("ports", [])}


def secrets(part: Any) -> set[str]:
    """Names of all secrets that a part of a manifest refers to."""
    if isinstance(part, list):
        return set().union(*map(secrets, part))
    if not isinstance(part, dict):
        return set()
    found = {part[key]["name"] for key in ("secretRef", "secretKeyRef") if key in part}
    found |= {part["secretName"]} if "secretName" in part else set()
    return found.union(*map(secrets, part.values()))


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    expressions = selector.get("matchExpressions", [])
    return wanted and all(labels.get(one["key"]) in one["values"] for one in expressions)


@every_overlay
def test_kubernetes_would_take_it(overlay: str) -> None:
    for manifest in built(overlay):
        if manifest["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(manifest, "1.37", strict=True)


@every_overlay
@pytest.mark.skipif(
    shutil.which("checkov") is None, reason="There is no checkov: `pip install checkov` brings it."
)
def test_checkov_finds_nothing_but_what_is_meant(overlay: str, tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text(yaml.safe_dump_all(built(overlay)))
    command = ["checkov", "--framework", "kubernetes", "--compact", "--skip-download", "--output", "json"]
    done = subprocess.run([*command, "--file", file], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["results"]["failed_checks"] == []
    assert report["summary"]["passed"] > 100
    assert all(one["check_result"]["suppress_comment"] for one in report["results"]["skipped_checks"])


@every_overlay
def test_pods_may_do_nothing_that_they_need_not(overlay: str) -> None:
    """Pod Security's profile `restricted`, and more."""
    for name, pod in pods(overlay).items():
        spec, only = pod["spec"], container(pod)
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["runAsUser"] == 10001, "as the Dockerfile has it"
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == name
        assert only["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= only["resources"]["requests"].keys()
        assert "memory" in only["resources"]["limits"]
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@every_overlay
def test_settings_are_those_of_the_code(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        known = {f"CANICOR_{field.upper()}" for one in SETTINGS[name] for field in one.model_fields}
        given = {one for one in environment(pod) if one.startswith("CANICOR_")}
        assert given <= known, f"{name}: {given - known}"


@every_overlay
def test_ports_and_probes_are_where_the_servers_listen(overlay: str) -> None:
    for name in ("classifier", "generator", "labeling"):
        pod = pods(overlay)[name]
        said, has = environment(pod), ports(pod)
        listens = {
            "grpc": f"CANICOR_{name.upper()}_LISTEN",
            "metrics": f"CANICOR_{name.upper()}_METRICS_LISTEN",
            "health": f"CANICOR_{name.upper()}_HEALTH_LISTEN",
            **({"page": "CANICOR_LABELING_HTTP_LISTEN"} if name == "labeling" else {}),
        }
        assert has == {port: int(said[setting].rpartition(":")[2]) for port, setting in listens.items()}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container(pod)[probe]["grpc"]["port"] == has["health"]


@every_overlay
def test_services_lead_to_pods_and_addresses_to_services(overlay: str) -> None:
    services, all_pods = of_kind(overlay, "Service"), pods(overlay)
    for service in services.values():
        chosen = [pod for pod in all_pods.values() if service["spec"]["selector"].items() <= labels(pod).items()]
        assert len(chosen) == 1
        for port in service["spec"]["ports"]:
            assert ports(chosen[0])[port["targetPort"]] == port["port"]
    for pod in all_pods.values():
        for setting, value in environment(pod).items():
            if setting.endswith("_ADDRESS"):
                host, _, port = value.partition(":")
                assert int(port) in [one["port"] for one in services[host]["spec"]["ports"]]


def labels(pod: Manifest) -> dict[str, str]:
    return dict(pod["metadata"]["labels"])


@every_overlay
def test_budgets_scalers_and_policies_are_of_pods_that_there_are(overlay: str) -> None:
    for budget in of_kind(overlay, "PodDisruptionBudget").values():
        assert any(matches(budget["spec"]["selector"], labels(pod)) for pod in pods(overlay).values())
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler").values():
        assert scaler["spec"]["scaleTargetRef"]["name"] in of_kind(overlay, "Deployment")
        custom = [one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"] if one["type"] == "Pods"]
        assert set(custom) <= set(REGISTRY._names_to_collectors)
    policies = of_kind(overlay, "NetworkPolicy")
    for policy in policies.values():
        assert any(matches(policy["spec"]["podSelector"], labels(pod)) for pod in pods(overlay).values())
    for pod in pods(overlay).values():
        assert matches(policies["deny"]["spec"]["podSelector"], labels(pod)), "denied by default"


@every_overlay
def test_a_stop_leaves_time_for_the_drain(overlay: str) -> None:
    drain = ClassifierSettings.model_fields["drain_seconds"].default
    for name in ("classifier", "generator", "labeling"):
        pod = pods(overlay)[name]
        before = container(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["spec"]["terminationGracePeriodSeconds"] >= before + drain + 10


@every_overlay
def test_images_are_built_here(overlay: str) -> None:
    ours = {f"canicor-{path.stem}" for path in (ROOT / "deploy/docker").glob("*.Dockerfile")}
    for pod in pods(overlay).values():
        assert container(pod)["image"].partition(":")[0] in ours


@every_overlay
def test_each_secret_comes_from_somewhere(overlay: str) -> None:
    asked = set().union(*map(secrets, pods(overlay).values()))
    example = yaml.safe_load_all((KUSTOMIZE / "overlays/cpu/secrets.example.yaml").read_text())
    shown = {one["metadata"]["name"] for one in example}
    certificates = {one["spec"]["secretName"] for one in of_kind(overlay, "Certificate").values()}
    assert asked <= shown | certificates
    if external := of_kind(overlay, "ExternalSecret"):
        assert {one["spec"]["target"]["name"] for one in external.values()} == shown
    assert bool(asked) == (overlay != "dev")


def test_routes_lead_to_services_of_the_code() -> None:
    described = (classifier_pb2.DESCRIPTOR, open_inference_pb2.DESCRIPTOR)
    known = {one.full_name for file in described for one in file.services_by_name.values()} | {
        "grpc.health.v1.Health"
    }
    (route,) = of_kind("production", "GRPCRoute").values()
    routed = {match["method"]["service"] for rule in route["spec"]["rules"] for match in rule["matches"]}
    assert routed == known, "and ModelAdminService is not among them"
    services = of_kind("production", "Service")
    for kind in ("GRPCRoute", "HTTPRoute"):
        for one in of_kind("production", kind).values():
            for rule in one["spec"]["rules"]:
                for backend in rule["backendRefs"]:
                    assert backend["port"] in [port["port"] for port in services[backend["name"]]["spec"]["ports"]]


def test_the_operator_s_rules_are_prometheus_s_own() -> None:
    rule = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((MONITORING / "rules.yaml").read_text())


def test_nothing_speaks_in_the_clear_in_production() -> None:
    for name in ("classifier", "generator", "labeling"):
        said = environment(pods("production")[name])
        assert said["CANICOR_ALLOW_INSECURE"] == "false"
        assert said["CANICOR_TLS_CERTIFICATE"]
    assert all(environment(pods("production")[name])["CANICOR_TLS"] == "true" for name in ("labeling", "retrain"))


def inference_pods() -> dict[str, Manifest]:
    (service,) = kustomized(ROOT / "deploy/kserve")
    return {"classifier": service["spec"]["predictor"]}


def ray_pods() -> dict[str, Manifest]:
    (cluster,) = (one for one in kustomized(ROOT / "deploy/ray") if one["kind"] == "RayCluster")
    groups = {"head": cluster["spec"]["headGroupSpec"], "worker": cluster["spec"]["workerGroupSpecs"][0]}
    return {name: group["template"]["spec"] for name, group in groups.items()}


@pytest.mark.parametrize("found", [inference_pods, ray_pods], ids=["kserve", "ray"])
def test_pods_of_other_platforms_are_as_ours(found: Callable[[], dict[str, Manifest]]) -> None:
    example = yaml.safe_load_all((KUSTOMIZE / "overlays/cpu/secrets.example.yaml").read_text())
    shown = {one["metadata"]["name"] for one in example}
    ours = {f"canicor-{path.stem}" for path in (ROOT / "deploy/docker").glob("*.Dockerfile")}
    for name, spec in found().items():
        assert spec["securityContext"]["runAsUser"] == 10001
        assert secrets(spec) <= shown
        for one in spec["containers"]:
            assert one["image"].partition(":")[0] in ours
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert one["securityContext"]["readOnlyRootFilesystem"]
            settings = SETTINGS["classifier" if name == "classifier" else "generator"]
            known = {f"CANICOR_{field.upper()}" for kind in settings for field in kind.model_fields}
            said = {env["name"]: env.get("value", "") for env in one.get("env", [])}
            assert {setting for setting in said if setting.startswith("CANICOR_")} <= known
            listens = {int(value.rpartition(":")[2]) for setting, value in said.items() if "LISTEN" in setting}
            opened = {port["containerPort"] for port in one.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "grpc" in one.get(probe, {}):
                    assert one[probe]["grpc"]["port"] in listens
            assert not listens or opened <= listens


def test_ray_s_version_is_that_of_its_image() -> None:
    (cluster,) = (one for one in kustomized(ROOT / "deploy/ray") if one["kind"] == "RayCluster")
    lock = (ROOT / "deploy/docker/locks/generator-gpu.txt").read_text()
    assert f"\nray=={cluster['spec']['rayVersion']} " in lock


def test_kserve_leads_to_the_open_inference_protocol() -> None:
    (only,) = inference_pods()["classifier"]["containers"]
    first, *_ = only["ports"]
    said = {env["name"]: env.get("value", "") for env in only["env"]}
    assert first["name"] == "h2c"
    assert said["CANICOR_CLASSIFIER_LISTEN"].endswith(f":{first['containerPort']}")
