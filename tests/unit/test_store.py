import hashlib
from pathlib import Path

import pytest

from canicor import store
from canicor.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound, Unavailable
from canicor.store import Store, file_url


@pytest.fixture(params=["file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Store(file_url(tmp_path / "with a space"))
    return Store(f"memory:///{tmp_path.name}")


def test_keeps_what_it_is_given(objects: Store) -> None:
    objects.put("a/b", b"one")
    objects.put("a/b", b"two")
    assert objects.get("a/b") == b"two"
    assert objects.exists("a/b")
    assert not objects.exists("a")


def test_urls_lead_back(objects: Store) -> None:
    objects.put("images/1.png", b"pixels")
    assert store.read(objects.url("images/1.png")) == b"pixels"


def test_files_of_any_name_are_read_by_their_urls(tmp_path: Path) -> None:
    for name in ("chest 1.png", "Hündin.png", "a#b?.png", "50%25.png", "[1].png"):
        (tmp_path / name).write_text(name)
        assert store.read(file_url(tmp_path / name)) == name.encode()


def test_lists(objects: Store) -> None:
    for key in ("m/1/x", "m/2/x", "m/10/y", "n/x", "top"):
        objects.put(key, b"")
    assert objects.folders() == ["m", "n"]
    assert objects.folders("m") == ["1", "10", "2"]
    assert objects.folders("nowhere") == []
    assert sorted(objects.keys("m")) == ["m/1/x", "m/10/y", "m/2/x"]
    assert len(list(objects.keys())) == 5


def test_deletes(objects: Store) -> None:
    objects.put("a", b"")
    objects.delete("a")
    objects.delete("a")
    assert not objects.exists("a")


def test_only_one_may_create(objects: Store) -> None:
    objects.put("a", b"first", overwrite=False)
    with pytest.raises(AlreadyExists):
        objects.put("a", b"second", overwrite=False)
    assert objects.get("a") == b"first"


def test_missing(objects: Store) -> None:
    with pytest.raises(NotFound):
        objects.get("a")
    with pytest.raises(NotFound):
        store.read(objects.url("a"))


@pytest.mark.parametrize("key", ["../secret", "a/../../secret"])
def test_does_not_leave_its_folder(objects: Store, key: str) -> None:
    with pytest.raises(InvalidArgument):
        objects.get(key)
    with pytest.raises(InvalidArgument):
        objects.put(key, b"")


@pytest.mark.parametrize("url", ["", "/a/path", "ftp://host/a", "nonsense", "http://["])
def test_not_a_store(url: str) -> None:
    with pytest.raises(InvalidArgument):
        Store(url)


def test_says_when_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        Store(file_url(tmp_path / "file")).put("a", b"")


def test_reads_only_what_was_written(objects: Store) -> None:
    objects.put("a", b"bytes")
    digest = hashlib.sha256(b"bytes").hexdigest()
    assert store.read_checked(objects.url("a"), digest) == b"bytes"
    objects.put("a", b"other")
    with pytest.raises(DataLoss, match="checksum"):
        store.read_checked(objects.url("a"), digest)
    objects.delete("a")
    with pytest.raises(DataLoss, match="gone"):
        store.read_checked(objects.url("a"), digest)
