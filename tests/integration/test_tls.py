"""TLS and mTLS, and certificates that are renewed while the server runs."""

import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography import x509

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.client import Classifier
from canicor.errors import FailedPrecondition, Unavailable
from canicor.model_repository import ModelRepository
from tests import toy_models
from tests.servers import Server, free_port, health_of, until

Serve = Callable[..., Server]

REFUSED = "changed files can't be used"


def write(folder: Path, name: str, issued: trustme.LeafCert) -> None:
    issued.private_key_pem.write_to_path(folder / f"{name}.key")
    issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    write(tmp_path, "server", ca.issue_cert("127.0.0.1"))
    write(tmp_path, "client", ca.issue_cert("pacs"))
    return ca


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """What `serve` needs for TLS."""
    return {
        "CANICOR_TLS_CERTIFICATE": str(tmp_path / "server.pem"),
        "CANICOR_TLS_KEY": str(tmp_path / "server.key"),
        "tls_ca": tmp_path / "ca.pem",
    }


@pytest.fixture
def mutual_tls(tls: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return {
        **tls,
        "CANICOR_TLS_CLIENT_CA": str(tmp_path / "ca.pem"),
        "tls_client_certificate": tmp_path / "client.pem",
        "tls_client_key": tmp_path / "client.key",
    }


def shown_certificate(server: Server, address: str = "") -> x509.Certificate:
    """The certificate that a new connection is shown."""
    host, port = (address or server.address).split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def test_tls(serve: Serve, tls: dict[str, Any]) -> None:
    server = serve("classifier", **tls)
    with Classifier(server.client_settings()) as classifier, pytest.raises(FailedPrecondition):
        classifier.classify(b"reaches the servicer")
    with Classifier(server.client_settings(tls=False)) as classifier, pytest.raises(Unavailable):
        classifier.classify(b"is not sent in the clear")


def test_mutual_tls(serve: Serve, mutual_tls: dict[str, Any]) -> None:
    server = serve("classifier", **mutual_tls)
    with Classifier(server.client_settings()) as classifier, pytest.raises(FailedPrecondition):
        classifier.classify(b"reaches the servicer")
    strangers = server.client_settings(tls_client_certificate=None, tls_client_key=None)
    with Classifier(strangers) as classifier, pytest.raises(Unavailable):
        classifier.classify(b"comes from a stranger")


def test_half_a_certificate(serve: Serve, tls: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="CANICOR_TLS_KEY"):
        serve("classifier", CANICOR_TLS_CERTIFICATE=tls["CANICOR_TLS_CERTIFICATE"])


def test_will_not_start_with_the_key_of_another(serve: Serve, tls: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="belongs to another certificate"):
        serve("classifier", **{**tls, "CANICOR_TLS_KEY": str(tmp_path / "client.key")})


@pytest.mark.parametrize("broken", ["CANICOR_TLS_CERTIFICATE", "CANICOR_TLS_KEY", "CANICOR_TLS_CLIENT_CA"])
def test_will_not_start_with_what_is_no_pem(
    serve: Serve, mutual_tls: dict[str, Any], broken: str, tmp_path: Path
) -> None:
    (tmp_path / "broken").write_text("-----BEGIN CERTIFICATE-----\nnone\n")
    with pytest.raises(AssertionError, match="TLS files are PEM"):
        serve("classifier", **{**mutual_tls, broken: str(tmp_path / "broken")})


def test_a_renewed_certificate_goes_to_new_connections(
    serve: Serve,
    repository: ModelRepository,
    authority: trustme.CA,
    tls: dict[str, Any],
    tmp_path: Path,
    picture: bytes,
) -> None:
    toy_models.push(repository)
    server = serve("classifier", **tls)
    renewed = threading.Event()

    def requests() -> Iterator[pb.ClassifyRequest]:
        yield pb.ClassifyRequest(image=picture, request_id="before")
        assert renewed.wait(60)
        yield pb.ClassifyRequest(image=picture, request_id="after")

    with Classifier(server.client_settings()) as classifier:
        stream = classifier.classify_many(requests())
        assert next(stream).request_id == "before"
        first = shown_certificate(server)
        write(tmp_path, "server", authority.issue_cert("127.0.0.1"))
        until(lambda: shown_certificate(server) != first)
        renewed.set()
        assert [answer.response.vhs.value for answer in stream] == [pytest.approx(8.75)]
    with Classifier(server.client_settings()) as classifier:
        assert classifier.classify(picture).vhs.value == pytest.approx(8.75)


def test_the_page_s_certificate_is_renewed_too(
    serve: Serve, authority: trustme.CA, tls: dict[str, Any], tmp_path: Path
) -> None:
    server = serve("labeling", **tls)
    first = shown_certificate(server, server.page_address)
    write(tmp_path, "server", authority.issue_cert("127.0.0.1"))
    until(lambda: shown_certificate(server, server.page_address) != first)
    (tmp_path / "server.pem").write_text("no certificate")
    until(lambda: shown_certificate(server, server.page_address) and REFUSED in server.log.read_text())


def test_a_broken_certificate_leaves_the_old(
    serve: Serve, authority: trustme.CA, tls: dict[str, Any], tmp_path: Path
) -> None:
    server = serve("classifier", **tls)
    first = shown_certificate(server)
    other = authority.issue_cert("127.0.0.1")
    other.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")  # its key is not there yet
    until(lambda: shown_certificate(server) is not None and REFUSED in server.log.read_text())
    assert shown_certificate(server) == first
    other.private_key_pem.write_to_path(tmp_path / "server.key")
    until(lambda: shown_certificate(server) != first)
    assert server.log.read_text().count(REFUSED) == 1


def test_client_authorities_are_renewed(serve: Serve, mutual_tls: dict[str, Any], tmp_path: Path) -> None:
    server = serve("classifier", **mutual_tls)
    another = trustme.CA()
    write(tmp_path, "stranger", another.issue_cert("stranger"))
    settings = server.client_settings(
        tls_client_certificate=tmp_path / "stranger.pem", tls_client_key=tmp_path / "stranger.key"
    )

    def reaches_the_servicer() -> bool:
        options = [("grpc.use_local_subchannel_pool", 1)]
        files = (settings.tls_ca, settings.tls_client_key, settings.tls_client_certificate)
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files if file))
        with (
            grpc.secure_channel(server.address, credentials, options) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            ClassifierServiceStub(channel).Classify(pb.ClassifyRequest())
        return caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    assert not reaches_the_servicer()
    with (tmp_path / "ca.pem").open("ab") as authorities:
        authorities.write(another.cert_pem.bytes())
    until(reaches_the_servicer)


def test_tells_when_the_certificate_expires(serve: Serve, tls: dict[str, Any]) -> None:
    server = serve("classifier", **tls)
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics") as page:
        lines = page.read().decode().splitlines()
    expiration = next(
        line for line in lines if line.startswith("canicor_tls_certificate_expiration_timestamp_seconds ")
    )
    assert float(expiration.split()[1]) == shown_certificate(server).not_valid_after_utc.timestamp()


def test_probes_need_neither_tls_nor_token(serve: Serve, repository: ModelRepository, tls: dict[str, Any]) -> None:
    toy_models.push(repository)
    probes = f"127.0.0.1:{free_port()}"
    serve("classifier", **tls, CANICOR_CLASSIFIER_HEALTH_LISTEN=probes)
    for name in ("", "canicor.classifier.v1.ClassifierService", "vhs-keypoints", "vhs-keypoints/1"):
        assert health_of(probes, name) == "SERVING"
    with pytest.raises(grpc.RpcError) as caught:
        health_of(probes, "vhs-keypoints/2")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with grpc.insecure_channel(probes) as channel, pytest.raises(grpc.RpcError) as caught:
        ClassifierServiceStub(channel).Classify(pb.ClassifyRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_pages_are_answered_over_tls_too(serve: Serve, mutual_tls: dict[str, Any], tmp_path: Path) -> None:
    server = serve("labeling", **mutual_tls)
    header = {"Authorization": f"Bearer {(server.home / 'token').read_text().strip()}"}

    def status(context: ssl.SSLContext) -> int:
        connection = HTTPSConnection(server.page_address, context=context, timeout=30)
        with closing(connection):
            connection.request("POST", "/api/ListProjects", b"{}", header)
            return connection.getresponse().status

    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        status(context)
    context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    assert status(context) == 200
