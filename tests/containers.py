"""A real Docker engine, a stand-in for the base image, and Canicor's images built on it."""

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image
from docker.models.networks import Network
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parents[1]
BASE = "canicor-base"
START_SECONDS = 60
GRACE_SECONDS = 40
"""As the manifests and the compose file have it."""

_SECONDS = 600
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The machine's own, or one of this test run's."""
    with contextlib.ExitStack() as stack:
        is_there = "DOCKER_HOST" in os.environ or Path("/var/run/docker.sock").exists()
        client = docker.from_env(timeout=_SECONDS) if is_there else stack.enter_context(_own_engine())
        yield client
        client.close()


@contextlib.contextmanager
def _own_engine() -> Iterator[docker.DockerClient]:
    if os.getuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("There is no Docker engine: `apt-get install docker.io` brings one.")
    folder = Path(tempfile.mkdtemp(prefix="canicor-docker-"))
    address = f"unix://{folder}/socket"
    command = ["dockerd", "--storage-driver=overlay2", f"--host={address}", f"--pidfile={folder}/pid"]
    command += [f"--data-root={folder}/data", f"--exec-root={folder}/run"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "API listen on" in line:
            break
    else:
        raise AssertionError(f"The Docker engine did not start: {''.join(said)}")
    # Nobody reads the rest, and a full pipe would stop it.
    reader = threading.Thread(target=process.stderr.read)
    reader.start()
    try:
        yield docker.DockerClient(address, timeout=_SECONDS)
    finally:
        process.terminate()
        reader.join()
        process.communicate()
        # The engine leaves its network's name space mounted.
        subprocess.run(["umount", f"{folder}/run/netns/default"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def base(engine: docker.DockerClient) -> Image:
    """Stands in for python:3.11-slim-bookworm: Debian with its Python, and this machine's authorities."""
    with contextlib.suppress(docker.errors.ImageNotFound):
        return engine.images.get(BASE)
    if os.getuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("There is no debootstrap: `apt-get install debootstrap` brings it.")
    with tempfile.TemporaryDirectory() as name:
        system = Path(name) / "system"
        packages = "--include=python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", packages, "bookworm", system]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.copy(_AUTHORITIES, system / _AUTHORITIES.relative_to("/"))
        (system / "etc/pip.conf").write_text(f"[global]\ncert = {_AUTHORITIES}\n")
        archive = Path(name) / "system.tar"
        subprocess.run(["tar", "--create", "--file", archive, "--directory", system, "."], check=True)
        engine.api.import_image_from_file(str(archive), repository=BASE)
    return engine.images.get(BASE)


def build(engine: docker.DockerClient, name: str) -> Image:
    """Builds `deploy/docker/NAME.Dockerfile` on the stand-in, from what a clone would have."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for file in filter(None, files.decode().split("\0")):
            if (ROOT / file).is_file():
                archive.add(ROOT / file, file)
    context.seek(0)
    image, _ = engine.images.build(
        fileobj=context,
        custom_context=True,
        dockerfile=f"deploy/docker/{name}.Dockerfile",
        buildargs={"BASE_IMAGE": BASE, "REVISION": "tests"},
        network_mode="host",
        tag=f"canicor-{name}",
        rm=True,
    )
    return image


@pytest.fixture(scope="session")
def network(engine: docker.DockerClient) -> Iterator[Network]:
    """A bridge whose names lead to the containers on it."""
    made = engine.networks.create("canicor-tests", driver="bridge")
    yield made
    made.reload()
    for container in made.containers:
        container.remove(force=True, v=True)
    made.remove()


def gateway(network: Network) -> str:
    """Where containers find this machine."""
    network.reload()
    return str(network.attrs["IPAM"]["Config"][0]["Gateway"])


def run(
    engine: docker.DockerClient,
    network: Network,
    name: str,
    environment: dict[str, str],
    *,
    alias: str = "",
    ports: tuple[int, ...] = (),
    **options: object,
) -> Container:
    """Starts a container as the manifests do: nothing of it can be written but its volume and /tmp."""
    container = engine.containers.create(
        f"canicor-{name}",
        environment=environment,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        tmpfs={"/tmp": ""},
        ports=dict.fromkeys(ports, ("127.0.0.1", None)),
        network=network.name,
        **options,
    )
    if alias:
        network.disconnect(container)
        network.connect(container, aliases=[alias])
    container.start()
    return container


def published(container: Container, port: int) -> str:
    """Where a port of a container is found from outside."""
    container.reload()
    (place, *_) = container.ports[f"{port}/tcp"]
    return f"{place['HostIp']}:{place['HostPort']}"


@contextlib.contextmanager
def object_store(host: str) -> Iterator[str]:
    """An S3 store that forgets; gives its URL."""
    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()
