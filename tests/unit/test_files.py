"""Files that are followed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from canicor.errors import FailedPrecondition
from services.runtime import files
from services.runtime.files import Followed


def number(contents: Sequence[bytes]) -> int:
    try:
        return sum(map(int, contents))
    except ValueError as error:
        raise FailedPrecondition("Not a number.") from error


@pytest.fixture(autouse=True)
def _follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FOLLOW_SECONDS", 0.0)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "one", tmp_path / "two"]
    for path in found:
        path.write_text("1")
    return found


def test_follows_any_of_its_files(paths: list[Path]) -> None:
    followed = Followed(paths, number)
    assert followed.current() == 2
    paths[1].write_text("3")
    assert followed.current() == 4


def test_what_has_not_changed_is_not_read_again(paths: list[Path]) -> None:
    followed = Followed(paths, lambda contents: object())
    first = followed.current()
    paths[0].write_text("1")
    assert followed.current() is first


@pytest.mark.parametrize("broken", ["three", None])
def test_broken_files_leave_the_old_and_are_logged_once(paths: list[Path], broken: str | None) -> None:
    followed = Followed(paths, number)
    with capture_logs() as logs:
        paths[1].unlink() if broken is None else paths[1].write_text(broken)
        assert [followed.current() for _ in range(3)] == [2, 2, 2]
    assert [log["log_level"] for log in logs] == ["error"]
    assert str(paths[1]) in logs[0]["files"]
    paths[1].write_text("3")
    assert followed.current() == 4


def test_the_first_must_be_whole(paths: list[Path]) -> None:
    paths[0].write_text("three")
    with pytest.raises(FailedPrecondition):
        Followed(paths, number)
