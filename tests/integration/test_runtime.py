"""What every server does, shown on the classifier."""

import hashlib
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1 import model_admin_pb2 as admin_pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.classifier.v1.model_admin_pb2_grpc import ModelAdminServiceStub
from canicor.client import Classifier
from canicor.errors import InvalidArgument, Unauthenticated, Unavailable
from canicor.model_repository import ModelRepository
from tests import toy_models
from tests.servers import Server, health_of, until

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


def write_tokens(file: Path, *tokens: str) -> None:
    digests = [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
    file.write_text(
        "".join(f'[[tokens]]\nname = "PACS"\nsha256 = "{digest}"\nroles = ["classify"]\n' for digest in digests)
    )


def test_roles(serve: Serve, repository: ModelRepository, tmp_path: Path, picture: bytes) -> None:
    toy_models.push(repository)
    tokens = tmp_path / "tokens.toml"
    write_tokens(tokens, "pacs")
    server = serve("classifier", CANICOR_TOKENS_FILE=str(tokens))
    with Classifier(server.client_settings(token="pacs")) as classifier:
        assert classifier.classify(picture).vhs.value == pytest.approx(8.75)
    with server.channel(token="pacs") as channel, pytest.raises(grpc.RpcError) as caught:
        ModelAdminServiceStub(channel).RollBack(admin_pb.RollBackRequest(name="vhs-keypoints"))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_tokens_are_renewed_while_it_runs(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    write_tokens(tokens, "old")
    server = serve("classifier", CANICOR_TOKENS_FILE=str(tokens))

    def known(token: str) -> bool:
        with Classifier(server.client_settings(token=token)) as classifier:
            try:
                classifier.models()
            except Unauthenticated:
                return False
        return True

    assert known("old")
    assert not known("new")
    write_tokens(tokens, "new")
    until(lambda: known("new"))
    assert not known("old")


@pytest.mark.parametrize("name", ["", "vhs-keypoints", "of nothing here"])
def test_watches_do_not_hold_up_the_drain(serve: Serve, repository: ModelRepository, name: str) -> None:
    toy_models.push(repository)
    server = serve("classifier", CANICOR_DRAIN_SECONDS="3600")
    with grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))
        first = next(watch)
        assert server.terminate() == 0
        assert all(later.status != health_pb2.HealthCheckResponse.SERVING for later in watch)
    assert (first.status == health_pb2.HealthCheckResponse.SERVING) == (name != "of nothing here")


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


def test_health_follows_the_models(server: Server, repository: ModelRepository) -> None:
    toy_models.push(repository)
    until(lambda: health_of(server.address, "vhs-keypoints/1") == "NOT_SERVING")
    assert health_of(server.address, "vhs-keypoints/2") == "SERVING"
    assert health_of(server.address, "vhs-keypoints") == "SERVING"
