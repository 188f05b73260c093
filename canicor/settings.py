"""Settings that more than one room reads. Environment over file over defaults; no setting is needed.

Every field is set by `CANICOR_` and its name in capitals, or by its name in the TOML file that
`CANICOR_CONFIG` names.
"""

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from canicor.store import file_url


class Settings(BaseSettings):
    """Where everything lies. The base of every room's own settings."""

    model_config = SettingsConfigDict(env_prefix="CANICOR_", extra="ignore", frozen=True, env_ignore_empty=True)

    home: Path = Field(Path("~/.canicor"), description="Folder of everything that has no place of its own.")
    store_url: str = Field("", description="Object store for images. Empty: HOME/store.")
    model_repository: str = Field("", description="Object store for model bundles. Empty: HOME/models.")
    shipped_model: bool = Field(
        True,
        description="Let the model that ships with Canicor, trained on phantoms, answer until one of its name is "
        "put into production.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Places the environment over the TOML file."""
        file = TomlConfigSettingsSource(settings_cls, os.environ.get("CANICOR_CONFIG"))
        return init_settings, env_settings, file

    @property
    def home_folder(self) -> Path:
        """The home folder, absolute."""
        return self.home.expanduser().absolute()

    @property
    def image_store(self) -> str:
        """URL of the image store."""
        return self.store_url or file_url(self.home_folder / "store")

    @property
    def models(self) -> str:
        """URL of the model repository."""
        return self.model_repository or file_url(self.home_folder / "models")

    @property
    def token_file(self) -> Path:
        """Where the servers leave the token that they make for themselves, and where clients look for it."""
        return self.home_folder / "token"


class ClientSettings(Settings):
    """How clients reach the services. The defaults are where `canicor serve` listens."""

    classifier_address: str = Field("127.0.0.1:8470", description="Host and port of the classifier.")
    generator_address: str = Field("127.0.0.1:8471", description="Host and port of the generator.")
    labeling_address: str = Field("127.0.0.1:8472", description="Host and port of the labeling service.")
    token: SecretStr = Field(SecretStr(""), description="Bearer token. Empty: HOME/token, where there is one.")
    gzip: bool = Field(False, description="Compress what is sent, for a slow network.")
    tls: bool = Field(False, description="Speak TLS.")
    tls_ca: Path | None = Field(None, description="Authorities to trust, PEM. Empty: the system's own.")
    tls_client_certificate: Path | None = Field(None, description="The client's certificate for mTLS, PEM.")
    tls_client_key: Path | None = Field(None, description="The key of that certificate, PEM.")

    def bearer_token(self) -> str:
        """Returns the token to send; empty where there is none."""
        if token := self.token.get_secret_value():
            return token
        return self.token_file.read_text().strip() if self.token_file.is_file() else ""
