"""A clinic that labels."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clinics import PEOPLE, Clinic, token_of


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    entries = [
        f'[[tokens]]\nname = "{name}"\nroles = ["{role}"]\n'
        f'sha256 = "{hashlib.sha256(token_of(name).encode()).hexdigest()}"\n'
        for name, role in PEOPLE.items()
    ]
    entries.append(
        '[[tokens]]\nname = "labeling"\nroles = ["label"]\n'
        f'sha256 = "{hashlib.sha256(token_of("labeling").encode()).hexdigest()}"\n'
    )
    path = tmp_path / "tokens.toml"
    path.write_text("\n".join(entries))
    return path


@pytest.fixture
def clinic(serve: Callable, tokens_file: Path, database_url: str) -> Iterator[Clinic]:
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file), CANICOR_DATABASE_URL=database_url)
    people = Clinic(server, server.home)
    yield people
    people.close()
