"""What was found is not worked out again, and what was not finished is."""

from pathlib import Path

import pytest

from canicor.errors import DataLoss, ResourceExhausted
from training.journal import Journal


def test_a_step_is_done_once(tmp_path: Path) -> None:
    done: list[str] = []

    def work() -> dict[str, list[float]]:
        done.append("work")
        return {"figures": [0.5, 1.0]}

    for _ in range(2):
        assert Journal(tmp_path / "one").once("step", work) == {"figures": [0.5, 1.0]}
    assert Journal(tmp_path / "one").within("part").once("step", work) == {"figures": [0.5, 1.0]}
    assert len(done) == 2


def test_a_step_that_fails_is_done_again(tmp_path: Path) -> None:
    def fails() -> int:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        Journal(tmp_path).once("step", fails)
    assert Journal(tmp_path).once("step", lambda: 3) == 3


def test_a_damaged_file_is_told_and_not_taken_for_a_result(tmp_path: Path) -> None:
    (tmp_path / "step.json").write_text('{"figures": [0.5')
    with pytest.raises(DataLoss, match=r"step\.json can't be read: delete it"):
        Journal(tmp_path).once("step", lambda: 3)


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "step.part").symlink_to("/dev/full")
    with pytest.raises(ResourceExhausted, match=r"step\.json can't be written"):
        Journal(tmp_path).once("step", lambda: 3)
    assert not (tmp_path / "step.json").exists()
