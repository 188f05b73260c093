"""The settings that every server has."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, model_validator

from canicor.errors import InvalidArgument
from canicor.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class ServerSettings(Settings):
    """Base of each service's settings. A service names itself and adds `NAME_listen`,
    `NAME_metrics_listen` and `NAME_health_listen`.
    """

    service: ClassVar[str]

    tokens_file: Path | None = Field(
        None, description="TOML file of tokens and roles (docs/api.md). Empty: one token, made at first start."
    )
    tls_certificate: Path | None = Field(None, description="The server's certificate chain, PEM. Empty: no TLS.")
    tls_key: Path | None = Field(None, description="The key of that certificate, PEM.")
    tls_client_ca: Path | None = Field(None, description="Authorities of client certificates, PEM: asks for mTLS.")
    allow_insecure: bool = Field(False, description="Listen beyond loopback without TLS.")
    drain_seconds: float = Field(20.0, ge=0, description="How long calls may take to end after SIGTERM.")
    max_message_bytes: int = Field(64 * 2**20, gt=0, description="Largest request and answer.")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level shown."
    )

    @property
    def listen(self) -> str:
        """Host and port of the gRPC port."""
        return str(getattr(self, f"{self.service}_listen"))

    @property
    def metrics_listen(self) -> str:
        """Host and port of Prometheus' page."""
        return str(getattr(self, f"{self.service}_metrics_listen"))

    @property
    def health_listen(self) -> str:
        """Host and port that answers probes in the clear; empty for none."""
        return str(getattr(self, f"{self.service}_health_listen"))

    @property
    def http_listen(self) -> str:
        """Host and port of the API over HTTP; empty where a service has none."""
        return str(getattr(self, f"{self.service}_http_listen", ""))

    @model_validator(mode="after")
    def _check_exposure(self) -> "ServerSettings":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("CANICOR_TLS_CERTIFICATE and CANICOR_TLS_KEY go together.")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("CANICOR_TLS_CLIENT_CA needs CANICOR_TLS_CERTIFICATE.")
        for address in filter(None, (self.listen, self.http_listen)):
            host = split_address(address)[0]
            if host not in LOOPBACK and not self.tls_certificate and not self.allow_insecure:
                raise ValueError(
                    f"Listening on {address} without TLS would send radiographs and tokens in the clear: set "
                    "CANICOR_TLS_CERTIFICATE and CANICOR_TLS_KEY, or CANICOR_ALLOW_INSECURE=true."
                )
        return self

    def shown(self) -> dict[str, str]:
        """Returns every setting as it may be logged: secrets and passwords in URLs are left out."""
        return {name: _masked(value) for name, value in self if value is not None}


def split_address(address: str) -> tuple[str, int]:
    """Splits `host:port`.

    Raises:
        InvalidArgument: It is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise InvalidArgument(f"{address!r} is no address: give HOST:PORT, for example 127.0.0.1:8470.")
    return host, int(port)


def _masked(value: object) -> str:
    text = "***" if isinstance(value, SecretStr) else str(value)
    scheme, separator, rest = text.partition("://")
    if separator and "@" in rest:
        user = rest.partition("@")[0].partition(":")[0]
        return f"{scheme}://{user}:***@{rest.rpartition('@')[2]}"
    return text
