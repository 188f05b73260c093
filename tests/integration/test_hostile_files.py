"""A few hundred hostile files to a real server; `benchmarks/hostile_files.py` sends thousands, and times them."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.hostile_files import of_pydicom, send
from canicor.client import Classifier
from tests import hostile
from tests.servers import Server

COUNT = 400
SEED = 7


def test_mutated_files_get_an_answer_or_a_clear_status(
    server: Server, classifier: Classifier, picture: bytes, tmp_path: Path
) -> None:
    files = hostile.files(COUNT, SEED, tmp_path)
    with ThreadPoolExecutor(4) as clients:
        outcomes = list(clients.map(lambda file: send(classifier, *file), files))

    assert [one for one in outcomes if not one.is_clear] == []
    assert {one.result for one in outcomes} >= {"OK", "INVALID_ARGUMENT TRUNCATED"}
    assert_still_serves(server, classifier, picture)


def test_pydicoms_files_get_an_answer_or_a_clear_status(
    server: Server, classifier: Classifier, picture: bytes
) -> None:
    outcomes = [send(classifier, *file) for file in of_pydicom()]

    assert [one for one in outcomes if not one.is_clear] == []
    assert Counter(one.result for one in outcomes)["INVALID_ARGUMENT WRONG_MODALITY"] > 20
    assert_still_serves(server, classifier, picture)


def assert_still_serves(server: Server, classifier: Classifier, picture: bytes) -> None:
    assert classifier.classify(picture).vhs.value == pytest.approx(8.75)
    assert server.process is not None
    assert server.process.poll() is None
