"""The server's TLS certificate, followed while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from prometheus_client import Gauge

from canicor.errors import FailedPrecondition
from services.runtime.files import Followed
from services.runtime.settings import ServerSettings

EXPIRATION = Gauge(
    "canicor_tls_certificate_expiration_timestamp_seconds",
    "When the server's TLS certificate expires, in seconds since 1970.",
)


@dataclass(frozen=True)
class _Certificate:
    chain: bytes
    key: bytes
    client_authorities: bytes | None
    expiration: float

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.client_authorities)


def server_credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    """Returns credentials that read certificate, key and client authorities anew when their files change.

    Each new connection gets the newest; those that stand go on. `EXPIRATION` follows.

    Raises:
        FailedPrecondition: A file is missing, is not PEM, or the key is another certificate's.
    """
    paths = [path for path in (settings.tls_certificate, settings.tls_key, settings.tls_client_ca) if path]
    try:
        certificate = Followed(paths, _read)
    except OSError as error:
        raise FailedPrecondition(f"A TLS file can't be read: {error}", reason="TLS_FILE") from error
    EXPIRATION.set_function(lambda: certificate.current().expiration)
    in_use = certificate.current()

    def newer() -> grpc.ServerCertificateConfiguration | None:
        # gRPC asks before each handshake, and takes what it is given once: None keeps what it has.
        nonlocal in_use
        if (newest := certificate.current()) is in_use:
            return None
        in_use = newest
        return newest.configuration()

    return grpc.dynamic_ssl_server_credentials(
        in_use.configuration(),
        newer,  # type: ignore[arg-type]  # its types leave out None, its documentation does not
        require_client_authentication=settings.tls_client_ca is not None,
    )


def _read(files: Sequence[bytes]) -> _Certificate:
    chain, key, *rest = files
    authorities = rest[0] if rest else None
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        matches = load_pem_private_key(key, None).public_key() == leaf.public_key()
        if authorities is not None:
            x509.load_pem_x509_certificates(authorities)
    except (ValueError, TypeError) as error:  # TypeError: the key asks for a password
        raise FailedPrecondition(
            "TLS files are PEM: the certificate with its chain, its key without a password, and, where they are "
            "set, the authorities of client certificates.",
            reason="TLS_FILE",
        ) from error
    if not matches:
        raise FailedPrecondition("The TLS key belongs to another certificate.", reason="TLS_FILE")
    return _Certificate(chain, key, authorities, leaf.not_valid_after_utc.timestamp())
