"""Who calls, and what he may do: bearer tokens with roles."""

import hashlib
import os
import secrets
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from canicor.errors import FailedPrecondition, Unauthenticated


class Role(StrEnum):
    """What a token allows."""

    CLASSIFY = "classify"
    GENERATE = "generate"
    LABEL = "label"
    REVIEW = "review"
    MANAGE = "manage"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """The holder of a token.

    Attributes:
        name: Written to logs and labels.
        roles: What he may do.
    """

    name: str
    roles: frozenset[Role]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: str
    roles: list[Role]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[_Entry]


class Tokens:
    """The tokens that a server knows, by their SHA-256; the tokens themselves are not kept."""

    def __init__(self, callers: dict[str, Caller]) -> None:
        self._callers = callers

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Reads a TOML file of `[[tokens]]` with `name`, `sha256` and `roles`.

        Raises:
            FailedPrecondition: It can't be read as such.
        """
        try:
            entries = _File.model_validate(tomllib.loads(path.read_text())).tokens
        except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise FailedPrecondition(
                f"The tokens file {path} can't be read: it needs [[tokens]] with name, sha256 and roles from "
                f"{', '.join(Role)}.",
                reason="TOKENS_FILE",
            ) from error
        return cls({entry.sha256.lower(): Caller(entry.name, frozenset(entry.roles)) for entry in entries})

    @classmethod
    def embedded(cls, path: Path) -> Self:
        """The one token of an installation without a tokens file, with every role; made where it is missing.

        Args:
            path: Where it lies, readable by its owner alone, for servers and clients of the same user.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        _create_once(path, secrets.token_urlsafe(32))
        token = path.read_text().strip()
        return cls({_sha256(token): Caller("local", frozenset(Role))})

    def caller(self, authorization: str | None) -> Caller:
        """Returns the holder of the token in an `authorization` header.

        Raises:
            Unauthenticated: There is no token, or nobody holds it.
        """
        if not authorization:
            raise Unauthenticated("No token: send metadata 'authorization: Bearer TOKEN'.", reason="TOKEN_MISSING")
        scheme, _, token = authorization.partition(" ")
        caller = self._callers.get(_sha256(token.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            raise Unauthenticated("The token is not known to this server.", reason="TOKEN_UNKNOWN")
        return caller


def _create_once(path: Path, text: str) -> None:
    """Writes a file whole unless it exists: servers that start together agree on one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
