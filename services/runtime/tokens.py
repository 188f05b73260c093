"""Who calls, and what he may do: bearer tokens with roles and limits."""

import hashlib
import os
import secrets
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from canicor.errors import FailedPrecondition, Unauthenticated
from services.runtime.files import Followed
from services.runtime.limits import Limits


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
        limits: How much of it.
    """

    name: str
    roles: frozenset[Role]
    limits: Limits = field(default_factory=Limits, hash=False)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-fA-F]{64}$", to_lower=True)]
    roles: frozenset[Role]
    requests_per_second: float | None = Field(None, gt=0)
    burst: int | None = Field(None, ge=1)
    concurrent_requests: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _check_burst(self) -> Self:
        if self.burst and not self.requests_per_second:
            raise ValueError("burst needs requests_per_second")
        return self

    def caller(self) -> Caller:
        limits = Limits(self.requests_per_second, self.burst, self.concurrent_requests)
        return Caller(self.name, self.roles, limits)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[_Entry]

    @model_validator(mode="after")
    def _check_twins(self) -> Self:
        if len({entry.sha256 for entry in self.tokens}) < len(self.tokens):
            raise ValueError("a sha256 is there twice")
        return self


_Callers = Mapping[str, Caller]


class Tokens:
    """The tokens that a server knows, by their SHA-256; the tokens themselves are not kept.

    Their file is followed: a token holds from when it is written there until it is taken out.

    Args:
        path: The file.
        read: Makes of its bytes who holds which token.

    Raises:
        FailedPrecondition: It can't be read.
    """

    def __init__(self, path: Path, read: Callable[[bytes], _Callers]) -> None:
        self._read = read
        self._callers: _Callers = {}
        try:
            self._file = Followed([path], self._renewed)
        except OSError as error:
            raise FailedPrecondition(f"The tokens file can't be read: {error}", reason="TOKENS_FILE") from error

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Follows a TOML file of `[[tokens]]` with `name`, `sha256`, `roles` and limits (docs/api.md).

        Raises:
            FailedPrecondition: It can't be read as such.
        """
        return cls(path, _listed)

    @classmethod
    def embedded(cls, path: Path) -> Self:
        """The one token of an installation without a tokens file, with every role; made where it is missing.

        Args:
            path: Where it lies, readable by its owner alone, for servers and clients of the same user.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        _create_once(path, secrets.token_urlsafe(32))
        return cls(path, _embedded)

    def caller(self, authorization: str | None) -> Caller:
        """Returns the holder of the token in an `authorization` header.

        Raises:
            Unauthenticated: There is no token, or nobody holds it.
        """
        if not authorization:
            raise Unauthenticated("No token: send metadata 'authorization: Bearer TOKEN'.", reason="TOKEN_MISSING")
        scheme, _, token = authorization.partition(" ")
        # How long a look-up takes may tell something of a digest, but who does not know a token can't choose its
        # digest: there is nothing to guess bit by bit.
        caller = self._file.current().get(_sha256(token.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            raise Unauthenticated("The token is not known to this server.", reason="TOKEN_UNKNOWN")
        return caller

    def _renewed(self, files: Sequence[bytes]) -> _Callers:
        """Returns who holds which token now; of whom nothing changed, what he used of his limits goes on."""
        (file,) = files
        before, now = self._callers, self._read(file)
        self._callers = {
            digest: before[digest] if before.get(digest) == caller else caller for digest, caller in now.items()
        }
        return self._callers


def _listed(file: bytes) -> _Callers:
    try:
        entries = _File.model_validate(tomllib.loads(file.decode())).tokens
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise FailedPrecondition(
            f"The tokens file needs [[tokens]] with name, sha256 and roles from {', '.join(Role)}: "
            f"{_problem(error)}.",
            reason="TOKENS_FILE",
        ) from error
    return {entry.sha256: entry.caller() for entry in entries}


def _problem(error: ValueError) -> str:
    """Returns what is wrong, without the value that is: it may be a token put in the wrong place."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _embedded(file: bytes) -> _Callers:
    token = file.decode().strip()
    if not token:
        raise FailedPrecondition(
            "The token file is empty: a start without it makes a new token.", reason="TOKENS_FILE"
        )
    return {_sha256(token): Caller("local", frozenset(Role))}


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
