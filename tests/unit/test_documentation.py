"""docs/settings.md is what the settings say."""

from pathlib import Path

import pytest

from canicor.settings import ClientSettings, Settings
from services.classifier.settings import ClassifierSettings
from services.generator.settings import GeneratorSettings
from services.labeling.settings import LabelingSettings
from services.runtime.settings import ServerSettings
from training.generator.recipe import DreamBooth
from training.settings import TrainingSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"

WHOSE = {
    "Everything": (Settings, None),
    "Clients and the command line": (ClientSettings, Settings),
    "Training": (TrainingSettings, Settings),
    "Every server": (ServerSettings, Settings),
    "The classifier": (ClassifierSettings, ServerSettings),
    "The generator": (GeneratorSettings, ServerSettings),
    "The labeling service": (LabelingSettings, ServerSettings),
}


def test_dreambooth_s_settings():
    expected = "\n".join(
        f"| `{name}` | {shown(field.default)} | {field.description} |"
        for name, field in DreamBooth.model_fields.items()
    )
    assert expected in (DOCUMENT.parent / "generator.md").read_text()


def rows(settings: type[Settings], base: type[Settings] | None) -> list[str]:
    inherited = base.model_fields if base else {}
    return [
        f"| `CANICOR_{name.upper()}` | {shown(field.default)} | {field.description} |"
        for name, field in settings.model_fields.items()
        if name not in inherited
    ]


def shown(default: object) -> str:
    if default is None or str(default) == "":
        return ""
    text = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"`{text}`"


@pytest.mark.parametrize("heading", WHOSE)
def test_settings_table(heading: str) -> None:
    _, section = DOCUMENT.read_text().split(f"## {heading}\n")
    told = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert told == rows(*WHOSE[heading])
