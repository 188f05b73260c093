"""Real servers, each in its own process with a folder of its own, for tests to call, kill and start again."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from canicor.client import Classifier, channel
from canicor.model_repository import ModelRepository
from canicor.settings import ClientSettings
from canicor.store import file_url
from tests import toy_models

START_SECONDS = 60


# Below those that Linux gives to whoever asks for any (from 32768 on), and each of up to four test processes has
# its own: or somebody else would now and then take a port before the server that it is meant for.
_COUNT = 5000
_FIRST = 10_000 + _COUNT * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4)
_ports = itertools.cycle(range(_FIRST, _FIRST + _COUNT))


def free_port() -> int:
    """Returns a port that nobody listens on, and that is given to nobody else soon."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port := next(_ports)))
            return port


class Server:
    """One `canicor serve NAME` on free ports below `home`, run by the tests' own Python or another."""

    def __init__(
        self,
        name: str,
        home: Path,
        environment: dict[str, str],
        client: dict[str, object],
        python: str | Path = sys.executable,
    ) -> None:
        self.name = name
        self.home = home
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}"
        self.page_address = f"127.0.0.1:{free_port()}"
        self.log = home / f"{name}.log"
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CANICOR_")},
            "CANICOR_HOME": str(home),
            # Tests serve models of their own.
            "CANICOR_SHIPPED_MODEL": "false",
            f"CANICOR_{name.upper()}_LISTEN": self.address,
            f"CANICOR_{name.upper()}_METRICS_LISTEN": self.metrics_address,
            "CANICOR_LABELING_HTTP_LISTEN": self.page_address,
            **environment,
        }
        self._python = python
        self._client = {"tls": "tls_ca" in client, **client}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            command = [self._python, "-m", "canicor.cli", "serve", self.name]
            # Elsewhere, so that what is imported is what is installed.
            self.process = subprocess.Popen(command, env=self._environment, cwd=self.home, stdout=log, stderr=log)
        self._wait_until_serving()
        return self

    def _wait_until_serving(self) -> None:
        with self.channel(token="probe") as probe:
            health = health_pb2_grpc.HealthStub(probe)
            states = health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=START_SECONDS)
            threading.Thread(target=self._cancel_at_end, args=(self.process, states), daemon=True).start()
            with contextlib.suppress(grpc.RpcError):
                for state in states:
                    if state.status == health_pb2.HealthCheckResponse.SERVING:
                        # Streams have a connection of their own. The other one, which all channels to an address
                        # share, may still be waiting after the server that was here before was killed.
                        health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=START_SECONDS)
                        return
        raise AssertionError(f"{self.name} did not start: {self.log.read_text()}")

    @staticmethod
    def _cancel_at_end(process: subprocess.Popen[bytes], call: grpc.RpcContext) -> None:
        process.wait()
        call.cancel()

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=START_SECONDS)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def client_settings(self, **changes: object) -> ClientSettings:
        return ClientSettings(
            **{"home": self.home, f"{self.name}_address": self.address, **self._client, **changes}
        )

    def channel(self, **changes: object) -> grpc.Channel:
        return channel(self.address, self.client_settings(**changes))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers that share one home: `serve("classifier", CANICOR_X="...", tls_ca=...)`.

    Names in capitals go to the server's environment, others to the settings of its clients.
    """
    servers: list[Server] = []

    def start(name: str, **settings: Any) -> Server:
        environment = {key: value for key, value in settings.items() if key.isupper()}
        client = {key: value for key, value in settings.items() if not key.isupper()}
        server = Server(name, tmp_path / "home", environment, client)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """The repository of the server that `serve("classifier")` starts."""
    return ModelRepository(file_url(tmp_path / "home" / "models"))


@pytest.fixture
def server(serve: Callable[..., Server], repository: ModelRepository) -> Server:
    toy_models.push(repository)
    return serve("classifier", CANICOR_RELOAD_SECONDS="0.1")


@pytest.fixture
def classifier(server: Server) -> Iterator[Classifier]:
    with Classifier(server.client_settings()) as client:
        yield client


def until(condition: Callable[[], bool], tries: int = 5000) -> None:
    """Asks the server again and again, each time over the socket, until it has followed the repository."""
    for _ in range(tries):
        if condition():
            return
    raise AssertionError("the server never came there")


def metrics(server: Server) -> str:
    """The page that Prometheus reads."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics") as page:
        return str(page.read().decode())


def health_of(address: str, name: str) -> str:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=name)
        state = health_pb2_grpc.HealthStub(channel).Check(request).status
    return health_pb2.HealthCheckResponse.ServingStatus.Name(state)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """Of the server's database: empty for its own SQLite file."""
    on_postgresql = getattr(request, "param", "sqlite") == "postgresql"
    return request.getfixturevalue("postgresql") if on_postgresql else ""


class PostgreSQL:
    """A PostgreSQL server of this test run's own; `folder` has its socket.

    Args:
        host: An address of this machine where it listens too, to this machine and its networks.
    """

    def __init__(self, host: str = "") -> None:
        if not (shutil.which("initdb") and shutil.which("pg_ctl")):
            pytest.skip("PostgreSQL is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="canicor-"))
        self._data = str(self.folder / "data")
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            self._user = {"user": "nobody", "cwd": self.folder}
            shutil.chown(self.folder, "nobody")
        self.host = host
        self._run("initdb", "--pgdata", self._data, "--username", "canicor", "--auth", "trust", "--no-sync")
        if host:
            with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet trust\n")

    def start(self) -> None:
        options = f"-c listen_addresses={self.host} -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "--wait", "--pgdata", self._data, "--options", options, "--log", log)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--pgdata", self._data, "--mode", "immediate")

    def new_database(self) -> str:
        """Creates a database and returns its URL."""
        name = f"canicor_{uuid.uuid4().hex}"
        subprocess.run(["createdb", "--host", self.folder, "--username", "canicor", name], check=True)
        return f"postgresql://canicor@/{name}?host={self.folder}"

    def over_tcp(self, url: str) -> str:
        """Returns the URL of a database for those who come over the network."""
        return url.partition("?")[0].replace("@/", f"@{self.host}/")

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._user)


@contextlib.contextmanager
def running_postgresql(host: str = "") -> Iterator[PostgreSQL]:
    server = PostgreSQL(host)
    server.start()
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):  # a test stopped it
            server.stop()
        shutil.rmtree(server.folder)


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> str:
    """URL of a new database on a real PostgreSQL server."""
    return postgresql_server.new_database()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    with running_postgresql() as server:
        yield server
