"""Where the files of the commands of `canicor train` lie."""

from pathlib import Path

from canicor import store
from canicor.settings import Settings


def checkpoint_folder() -> Path:
    """Returns where training keeps what it needs to go on."""
    return Settings().home_folder / "training"


def manifest_url(manifest: str) -> str:
    """Returns the URL of a manifest that is named by its URL or its file."""
    return manifest if "://" in manifest else store.file_url(Path(manifest))
