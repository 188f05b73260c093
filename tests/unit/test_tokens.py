"""The tokens file: what it may say, and what happens when it changes."""

import hashlib
from pathlib import Path

import pytest

from canicor.errors import FailedPrecondition, Unauthenticated
from services.runtime import files
from services.runtime.tokens import Role, Tokens


def entry(name: str, token: str, more: str = "") -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f'[[tokens]]\nname = "{name}"\nsha256 = "{digest}"\nroles = ["classify"]\n{more}\n'


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "FOLLOW_SECONDS", 0.0)
    return tmp_path / "tokens.toml"


def test_a_token_holds_from_when_it_is_written_until_it_is_taken_out(path: Path) -> None:
    path.write_text(entry("ward 3", "old"))
    tokens = Tokens.from_file(path)
    path.write_text(entry("ward 3", "old") + entry("ward 3", "new"))
    assert tokens.caller("Bearer old").name == tokens.caller("Bearer new").name == "ward 3"
    path.write_text(entry("ward 3", "new"))
    assert tokens.caller("Bearer new").roles == {Role.CLASSIFY}
    with pytest.raises(Unauthenticated):
        tokens.caller("Bearer old")


def test_a_broken_file_leaves_the_tokens(path: Path) -> None:
    path.write_text(entry("ward 3", "old"))
    tokens = Tokens.from_file(path)
    path.write_text("[[tokens")
    assert tokens.caller("Bearer old").name == "ward 3"


def test_what_was_used_of_limits_outlives_a_change_elsewhere(path: Path) -> None:
    limited = entry("ward 3", "three", "requests_per_second = 1")
    path.write_text(limited)
    tokens = Tokens.from_file(path)
    before = tokens.caller("Bearer three").limits
    path.write_text(limited + entry("ward 4", "four"))
    assert tokens.caller("Bearer three").limits is before
    path.write_text(entry("ward 3", "three", "requests_per_second = 2"))
    assert tokens.caller("Bearer three").limits.requests_per_second == 2


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[[tokens", "end of document"),
        ("", "tokens: Field required"),
        (entry("ward 3", "three", "requests_per_minute = 1"), "tokens.0.requests_per_minute"),
        (entry("ward 3", "three", "requests_per_second = 0"), "tokens.0.requests_per_second"),
        (entry("ward 3", "three", "concurrent_requests = 0"), "tokens.0.concurrent_requests"),
        (entry("ward 3", "three", "burst = 2"), "burst needs requests_per_second"),
        (entry("ward 3", "three").replace("classify", "everything"), "tokens.0.roles"),
        (entry("ward 3", "three") + entry("ward 4", "three"), "a sha256 is there twice"),
    ],
)
def test_says_where_the_file_is_wrong(path: Path, text: str, where: str) -> None:
    path.write_text(text)
    with pytest.raises(FailedPrecondition, match=where):
        Tokens.from_file(path)


def test_a_token_in_place_of_its_digest_is_not_repeated(path: Path) -> None:
    path.write_text('[[tokens]]\nname = "ward 3"\nsha256 = "the-token-itself"\nroles = ["classify"]\n')
    with pytest.raises(FailedPrecondition, match=r"tokens\.0\.sha256") as caught:
        Tokens.from_file(path)
    assert "the-token-itself" not in caught.value.message


def test_an_empty_token_opens_nothing(path: Path) -> None:
    path.write_text("\n")
    with pytest.raises(FailedPrecondition, match="empty"):
        Tokens.embedded(path)
