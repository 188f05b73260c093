"""What every server does, shown on the classifier."""

import hashlib
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from canicor.bundle import ModelRepository
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1 import model_admin_pb2 as admin_pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.classifier.v1.model_admin_pb2_grpc import ModelAdminServiceStub
from canicor.client import Classifier
from canicor.errors import FailedPrecondition, InvalidArgument, Unauthenticated, Unavailable
from tests import toy_models
from tests.servers import Server, free_port, until

Serve = Callable[..., Server]


def test_no_token(server: Server, picture: bytes) -> None:
    with (
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        ClassifierServiceStub(channel).Classify(pb.ClassifyRequest(image=picture))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_wrong_token(server: Server, picture: bytes) -> None:
    with (
        Classifier(server.client_settings(token="wrong")) as classifier,
        pytest.raises(Unauthenticated) as caught,
    ):
        classifier.classify(picture)
    assert caught.value.reason == "TOKEN_UNKNOWN"


def test_roles(serve: Serve, repository: ModelRepository, tmp_path: Path, picture: bytes) -> None:
    toy_models.push(repository)
    tokens = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"pacs").hexdigest()
    tokens.write_text(f'[[tokens]]\nname = "PACS"\nsha256 = "{digest}"\nroles = ["classify"]\n')
    server = serve("classifier", CANICOR_TOKENS_FILE=str(tokens))
    with Classifier(server.client_settings(token="pacs")) as classifier:
        assert classifier.classify(picture).vhs.value == pytest.approx(8.75)
    with server.channel(token="pacs") as channel, pytest.raises(grpc.RpcError) as caught:
        ModelAdminServiceStub(channel).RollBack(admin_pb.RollBackRequest(name="vhs-keypoints"))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_drains_on_sigterm(server: Server, classifier: Classifier, picture: bytes) -> None:
    release = threading.Event()
    answers = []

    def requests() -> Iterator[pb.ClassifyRequest]:
        yield pb.ClassifyRequest(image=picture, request_id="before")
        assert release.wait(30)
        yield pb.ClassifyRequest(image=picture, request_id="while draining")

    stream = classifier.classify_many(requests())
    answers.append(next(stream).request_id)
    with ThreadPoolExecutor(1) as waiting:
        ended = waiting.submit(server.terminate)
        until(lambda: "draining" in server.log.read_text())
        release.set()
        answers += [answer.request_id for answer in stream]
        assert ended.result() == 0
    assert answers == ["before", "while draining"]


def test_reflection_names_the_services(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        names = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {
        "canicor.classifier.v1.ClassifierService",
        "canicor.classifier.v1.ModelAdminService",
        "grpc.health.v1.Health",
    } <= set(names)


def test_counts_what_it_did(server: Server, classifier: Classifier, picture: bytes) -> None:
    classifier.classify(picture)
    with pytest.raises(InvalidArgument):
        classifier.classify(b"")
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics") as page:
        text = page.read().decode()
    for code in ("OK", "INVALID_ARGUMENT"):
        labels = f'code="{code}",method="Classify",service="canicor.classifier.v1.ClassifierService"'
        assert f"canicor_grpc_calls_total{{{labels}}} 1.0" in text
    assert 'decision="ACCEPT",heart_size="Normal",model="vhs-keypoints",version="1"} 1.0' in text


def test_logs_are_json_and_hold_no_token(server: Server, classifier: Classifier, picture: bytes) -> None:
    classifier.classify(picture)
    server.terminate()
    text = server.log.read_text()
    calls = [record for line in text.splitlines() if (record := json.loads(line))["event"] == "call"]
    assert [(call["code"], call["caller"]) for call in calls] == [("OK", "local")]
    assert (server.home / "token").read_text() not in text


def test_will_not_share_an_address(serve: Serve, server: Server) -> None:
    with pytest.raises(AssertionError, match="CANICOR_CLASSIFIER_LISTEN"):
        serve("classifier", CANICOR_CLASSIFIER_LISTEN=server.address)


def test_will_not_listen_beyond_loopback_in_the_clear(serve: Serve) -> None:
    with pytest.raises(AssertionError, match="CANICOR_ALLOW_INSECURE"):
        serve("classifier", CANICOR_CLASSIFIER_LISTEN="0.0.0.0:0")


def test_unreachable_is_unavailable(server: Server, picture: bytes) -> None:
    server.kill()
    with Classifier(server.client_settings()) as classifier, pytest.raises(Unavailable):
        classifier.classify(picture)


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ca.issue_cert("127.0.0.1", "localhost")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    client = ca.issue_cert("pacs")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    return ca


@pytest.mark.usefixtures("authority")
def test_tls(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        "classifier",
        CANICOR_TLS_CERTIFICATE=str(tmp_path / "server.pem"),
        CANICOR_TLS_KEY=str(tmp_path / "server.key"),
        tls_ca=tmp_path / "ca.pem",
    )
    with Classifier(server.client_settings()) as classifier, pytest.raises(FailedPrecondition):
        classifier.classify(b"reaches the servicer")
    with Classifier(server.client_settings(tls=False)) as classifier, pytest.raises(Unavailable):
        classifier.classify(b"is not sent in the clear")


@pytest.mark.usefixtures("authority")
def test_mutual_tls(serve: Serve, tmp_path: Path) -> None:
    certificate = {
        "tls_client_certificate": tmp_path / "client.pem",
        "tls_client_key": tmp_path / "client.key",
    }
    server = serve(
        "classifier",
        CANICOR_TLS_CERTIFICATE=str(tmp_path / "server.pem"),
        CANICOR_TLS_KEY=str(tmp_path / "server.key"),
        CANICOR_TLS_CLIENT_CA=str(tmp_path / "ca.pem"),
        tls_ca=tmp_path / "ca.pem",
        **certificate,
    )
    with Classifier(server.client_settings()) as classifier, pytest.raises(FailedPrecondition):
        classifier.classify(b"reaches the servicer")
    strangers = server.client_settings(tls_client_certificate=None, tls_client_key=None)
    with Classifier(strangers) as classifier, pytest.raises(Unavailable):
        classifier.classify(b"comes from a stranger")


def test_half_a_certificate(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="CANICOR_TLS_KEY"):
        serve("classifier", CANICOR_TLS_CERTIFICATE=str(tmp_path / "server.pem"))


def test_unreadable_tokens_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "tokens.toml").write_text("[[tokens]]\nname = 'PACS'\n")
    with pytest.raises(AssertionError, match="needs \\[\\[tokens"):
        serve("classifier", CANICOR_TOKENS_FILE=str(tmp_path / "tokens.toml"))


def test_environment_over_file_over_defaults(serve: Serve, tmp_path: Path) -> None:
    config = tmp_path / "canicor.toml"
    config.write_text("default_model = 'from-file'\nmax_waiting = 3\n")
    server = serve("classifier", CANICOR_CONFIG=str(config), CANICOR_MAX_WAITING="4")
    server.terminate()
    records = map(json.loads, server.log.read_text().splitlines())
    shown = next(record["settings"] for record in records if record["event"] == "serving")
    assert (shown["default_model"], shown["max_waiting"], shown["workers"]) == ("from-file", "4", "0")


def test_token_is_for_its_owner_alone(server: Server) -> None:
    assert (server.home / "token").stat().st_mode & 0o077 == 0


def health_of(address: str, name: str) -> str:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=name)
        state = health_pb2_grpc.HealthStub(channel).Check(request).status
    return health_pb2.HealthCheckResponse.ServingStatus.Name(state)


@pytest.mark.usefixtures("authority")
def test_probes_need_neither_tls_nor_token(serve: Serve, repository: ModelRepository, tmp_path: Path) -> None:
    toy_models.push(repository)
    probes = f"127.0.0.1:{free_port()}"
    serve(
        "classifier",
        CANICOR_TLS_CERTIFICATE=str(tmp_path / "server.pem"),
        CANICOR_TLS_KEY=str(tmp_path / "server.key"),
        CANICOR_CLASSIFIER_HEALTH_LISTEN=probes,
        tls_ca=tmp_path / "ca.pem",
    )
    for name in ("", "canicor.classifier.v1.ClassifierService", "vhs-keypoints", "vhs-keypoints/1"):
        assert health_of(probes, name) == "SERVING"
    with pytest.raises(grpc.RpcError) as caught:
        health_of(probes, "vhs-keypoints/2")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with grpc.insecure_channel(probes) as channel, pytest.raises(grpc.RpcError) as caught:
        ClassifierServiceStub(channel).Classify(pb.ClassifyRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_follows_the_models(server: Server, repository: ModelRepository) -> None:
    toy_models.push(repository)
    until(lambda: health_of(server.address, "vhs-keypoints/1") == "NOT_SERVING")
    assert health_of(server.address, "vhs-keypoints/2") == "SERVING"
    assert health_of(server.address, "vhs-keypoints") == "SERVING"
