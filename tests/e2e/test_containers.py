"""The images, built and run as they are deployed: with PostgreSQL, an S3 store, tokens, and no rights."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import boto3
import docker
import grpc
import pytest
from docker.models.containers import Container
from docker.models.images import Image
from docker.models.networks import Network
from grpc_health.v1 import health_pb2, health_pb2_grpc

from canicor.client import channel
from canicor.generator.v1 import generator_pb2
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.labeling.v1 import labeling_pb2
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.settings import ClientSettings
from tests.containers import GRACE_SECONDS, START_SECONDS, build, gateway, object_store, published, run
from tests.servers import running_postgresql

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-tests"
TOKENS = f"""[[tokens]]
name = "tests"
sha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"
roles = ["classify", "generate", "label", "review", "manage", "admin"]
"""
PORTS = {"classifier": 8470, "generator": 8471, "labeling": 8472}
MEGABYTE = 10**6

LOAD = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from canicor.client import Classifier

def ask(_):
    while not Path("/etc/canicor/halt").exists():
        print(classifier.classify(picture).model.version, flush=True)

picture = Path("/etc/canicor/picture.png").read_bytes()
with Classifier() as classifier, ThreadPoolExecutor(4) as pool:
    list(pool.map(ask, range(4)))
"""
"""A client that finds the servers by their name, and ends with the first request that fails."""


@dataclass
class Stack:
    """The services beside what they keep things in."""

    engine: docker.DockerClient
    network: Network
    environment: dict[str, str]
    databases: dict[str, str]
    folder: Path
    containers: dict[str, Container] = field(default_factory=dict)

    @property
    def volumes(self) -> dict[str, dict[str, str]]:
        """Tokens and what else the containers are given to read."""
        return {str(self.folder): {"bind": "/etc/canicor", "mode": "ro"}}

    def start(self, name: str) -> Container:
        """Starts one more container of a service, and waits until it serves."""
        own = {"CANICOR_DATABASE_URL": self.databases[name]} if name in self.databases else {}
        container = run(
            self.engine,
            self.network,
            name,
            {**self.environment, **own},
            alias=name,
            ports=(PORTS[name], 8480),
            volumes=self.volumes,
        )
        self.containers[name] = container
        with grpc.insecure_channel(published(container, 8480)) as probe:
            states = health_pb2_grpc.HealthStub(probe).Watch(
                health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=START_SECONDS
            )
            with contextlib.suppress(grpc.RpcError):
                if any(state.status == health_pb2.HealthCheckResponse.SERVING for state in states):
                    return container
        raise AssertionError(container.logs().decode())

    def client(self) -> dict[str, str]:
        """The environment of a command that uses the services from outside."""
        addresses = {
            f"CANICOR_{name.upper()}_ADDRESS": published(self.containers[name], port)
            for name, port in PORTS.items()
        }
        return {**os.environ, **self.environment, **addresses, "CANICOR_HOME": str(self.folder / "home")}


@pytest.fixture(scope="module")
def images(engine: docker.DockerClient, base: Image) -> dict[str, Image]:
    return {name: build(engine, name) for name in PORTS}


@pytest.fixture(scope="module")
def stack(
    engine: docker.DockerClient,
    images: dict[str, Image],
    network: Network,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    folder.chmod(0o755)
    (folder / "tokens.toml").write_text(TOKENS)
    host = gateway(network)
    with object_store(host) as store, running_postgresql(host) as postgresql:
        environment = {
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ENDPOINT_URL": store,
            "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "CANICOR_ALLOW_INSECURE": "true",
            "CANICOR_CLASSIFIER_ADDRESS": "classifier:8470",
            "CANICOR_GENERATOR_ADDRESS": "generator:8471",
            "CANICOR_MODEL_REPOSITORY": "s3://canicor/models",
            "CANICOR_STORE_URL": "s3://canicor/images",
            "CANICOR_TOKEN": TOKEN,
            "CANICOR_TOKENS_FILE": "/etc/canicor/tokens.toml",
        }
        objects(environment).create_bucket(Bucket="canicor")
        databases = {name: postgresql.over_tcp(postgresql.new_database()) for name in ("generator", "labeling")}
        made = Stack(engine, network, environment, databases, folder)
        for name in ("generator", "classifier", "labeling"):
            made.start(name)
        yield made


def objects(environment: dict[str, str]) -> "boto3.client":
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
    )


def inside(engine: docker.DockerClient, image: Image, *command: str) -> str:
    """What a command prints in a container of its own."""
    container = engine.containers.create(image, list(command[1:]), entrypoint=command[0], read_only=True)
    try:
        container.start()
        # Not before its end: what follows a running one may miss its last words.
        container.wait()
        return str(container.logs().decode())
    finally:
        container.remove(force=True, v=True)


@pytest.mark.parametrize("name", PORTS)
def test_an_image_holds_what_it_needs_and_no_more(
    engine: docker.DockerClient, base: Image, images: dict[str, Image], name: str
) -> None:
    image = images[name]
    size = (image.attrs["Size"] - base.attrs["Size"]) / MEGABYTE
    print(f"canicor-{name}: {size:.0f} MB over its base")
    assert name != "classifier" or size <= 450
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert image.labels["org.opencontainers.image.version"] == version
    assert image.labels["org.opencontainers.image.revision"] == "tests"
    listed = {
        one["name"] for one in json.loads(inside(engine, image, "cat", "/opt/canicor/sbom.json"))["components"]
    }
    assert {"canicor", "grpcio", "numpy"} <= listed
    assert not listed & {"torch", "pip", "setuptools"}
    assert inside(engine, image, "id", "-u").strip() == "10001"
    compilers = "command -v gcc cc make || echo none"
    assert inside(engine, image, "sh", "-c", compilers).strip() == "none"


def test_the_image_s_own_health_check_finds_it_well(stack: Stack) -> None:
    for container in stack.containers.values():
        check = ["python", "-m", "services.runtime.probe", "127.0.0.1:8480"]
        assert container.image.attrs["Config"]["Healthcheck"]["Test"] == ["CMD", *check]
        assert container.exec_run(check).exit_code == 0
        assert container.exec_run([*check[:-1], "127.0.0.1:1"]).exit_code == 1


def test_nothing_can_be_written_beside_the_home(stack: Stack) -> None:
    for container in stack.containers.values():
        assert container.exec_run(["touch", "/opt/canicor/x"]).exit_code == 1
        assert container.exec_run(["touch", "/var/lib/canicor/x", "/tmp/x"]).exit_code == 0
        assert b"CapEff:\t0000000000000000" in container.exec_run(["cat", "/proc/1/status"]).output


def test_the_loop(stack: Stack) -> None:
    """`canicor demo` against the containers: it generates, labels, trains, pushes, serves and classifies."""
    command = [sys.executable, "-m", "canicor.cli", "demo", "--running"]
    command += ["--images", "60", "--held-out", "12", "--epochs", "1"]
    done = subprocess.run(command, env=stack.client(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Class accuracy" in done.stdout
    keys = kept(stack)["objects"]
    assert sum(key.startswith("images/") and key.endswith(".png") for key in keys) == 72
    assert "models/vhs-keypoints/aliases.json" in keys


def test_a_backup_brings_everything_back(stack: Stack, tmp_path: Path) -> None:
    before = kept(stack)
    operations("backup.sh", stack, tmp_path)
    for name in stack.databases:
        stack.containers[name].stop(timeout=GRACE_SECONDS)
    empty(stack.environment)
    for name, url in stack.databases.items():
        subprocess.run(
            ["psql", url, "--quiet", "-c", "DROP SCHEMA public CASCADE; CREATE SCHEMA public"], check=True
        )
        stack.start(name)
    assert not kept(stack)["batches"]
    for name in stack.databases:
        stack.containers[name].stop(timeout=GRACE_SECONDS)
    operations("restore.sh", stack, tmp_path)
    for name in ("generator", "labeling"):
        stack.start(name)
    assert kept(stack) == before


def test_half_a_backup_is_not_brought_back(stack: Stack, tmp_path: Path) -> None:
    before = kept(stack)
    (tmp_path / "generator.dump").touch()
    with pytest.raises(subprocess.CalledProcessError):
        operations("restore.sh", stack, tmp_path)
    assert kept(stack) == before


def operations(script: str, stack: Stack, folder: Path) -> None:
    """Runs a script of an operator's."""
    databases = {f"{name.upper()}_DATABASE_URL": url for name, url in stack.databases.items()}
    environment = {**os.environ, **stack.environment, **databases}
    subprocess.run([ROOT / "deploy/operations" / script, folder], env=environment, check=True)


def kept(stack: Stack) -> dict[str, object]:
    """All that has to survive: batches and projects, labels, images and models, the latter as digests by key."""
    settings = ClientSettings(token=TOKEN)
    with channel(published(stack.containers["generator"], 8471), settings) as generator:
        batches = GeneratorServiceStub(generator).ListBatches(generator_pb2.ListBatchesRequest()).batches
    with channel(published(stack.containers["labeling"], 8472), settings) as connection:
        labeling = LabelingServiceStub(connection)
        projects = labeling.ListProjects(labeling_pb2.ListProjectsRequest()).projects
        parts = [
            labeling.ExportDataset(labeling_pb2.ExportDatasetRequest(project=project.name)) for project in projects
        ]
        labels = [b"".join(part.chunk for part in stream) for stream in parts]
    store = objects(stack.environment)
    stored = store.list_objects_v2(Bucket="canicor").get("Contents", [])
    return {
        "batches": [one.SerializeToString(deterministic=True) for one in batches],
        "projects": [one.SerializeToString(deterministic=True) for one in projects],
        "labels": labels,
        "objects": {one["Key"]: digest(store, one["Key"]) for one in stored},
    }


def digest(store: "boto3.client", key: str) -> str:
    """Of what the store gives: the ETag of moto is wrong where it was reckoned while somebody read."""
    return hashlib.sha256(store.get_object(Bucket="canicor", Key=key)["Body"].read()).hexdigest()


def empty(environment: dict[str, str]) -> None:
    store = objects(environment)
    for one in store.list_objects_v2(Bucket="canicor")["Contents"]:
        store.delete_object(Bucket="canicor", Key=one["Key"])


def test_a_rolling_update_under_load_loses_no_request(stack: Stack, picture: bytes) -> None:
    """Another server first, then SIGTERM to the one before, as a Deployment does with maxUnavailable 0."""
    (stack.folder / "picture.png").write_bytes(picture)
    old = stack.containers["classifier"]
    load = run(
        stack.engine,
        stack.network,
        "classifier",
        stack.environment,
        entrypoint=["python", "-c", LOAD],
        volumes=stack.volumes,
    )
    with contextlib.closing(load.logs(stream=True, follow=True)) as answers:
        assert len(list(islice(answers, 20))) == 20, load.logs().decode()
        stack.start("classifier")
        old.stop(timeout=GRACE_SECONDS)
        assert old.wait()["StatusCode"] == 0
        assert len(list(islice(answers, 200))) == 200, load.logs().decode()
    (stack.folder / "halt").touch()
    assert load.wait()["StatusCode"] == 0, load.logs().decode()


def test_a_stop_ends_each_within_its_grace(stack: Stack) -> None:
    for container in stack.containers.values():
        container.stop(timeout=GRACE_SECONDS)
        assert container.wait()["StatusCode"] == 0, "not 137, which is what SIGKILL leaves"
