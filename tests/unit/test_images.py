"""What images are built from: locks that hold what the project asks for, and Dockerfiles that say the same."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from canicor.settings import ClientSettings
from services.classifier.settings import ClassifierSettings
from services.generator.settings import GeneratorSettings
from services.labeling.settings import LabelingSettings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy/docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = {
    "classifier": ["classifier", "tracing"],
    "classifier-gpu": ["classifier-gpu", "tracing"],
    "generator": ["generator", "tracing"],
    "generator-gpu": ["generator", "diffusers", "ray", "tracing"],
    "labeling": ["labeling", "tracing"],
    "training": ["training", "tracing"],
}
SETTINGS = {"classifier": ClassifierSettings, "generator": GeneratorSettings, "labeling": LabelingSettings}

every_image = pytest.mark.parametrize("image", EXTRAS)


def asked(extras: list[str]) -> Iterator[Requirement]:
    """What the project asks for, and its extras, and theirs."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    for one in map(Requirement, lines):
        if one.name == "canicor":
            yield from asked(sorted(one.extras))
        elif one.marker is None or one.marker.evaluate():
            yield one


def locked(image: str) -> dict[str, str]:
    """Versions by package, of this Python."""
    text = (DOCKER / "locks" / f"{image}.txt").read_text().replace("\\\n", " ")
    lines = [Requirement(re.sub(r"--hash=\S+", "", line).strip()) for line in text.splitlines()]
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in lines
        if one.marker is None or one.marker.evaluate({"python_full_version": "3.11.0"})
    }


@every_image
def test_a_lock_holds_what_the_project_asks_for(image: str) -> None:
    versions = locked(image)
    for one in asked(EXTRAS[image]):
        assert one.specifier.contains(versions[canonicalize_name(one.name)]), f"{one}: `make locks`"


def test_onnx_runtime_finds_cuda_in_its_image() -> None:
    """Its package names these as extras of its own, and falls back to the processor without them."""
    assert {"nvidia-cublas", "nvidia-cuda-runtime", "nvidia-cudnn-cu13", "nvidia-cufft"} <= locked(
        "classifier-gpu"
    ).keys()


@pytest.mark.parametrize("lock", ["build", *EXTRAS])
def test_nothing_is_installed_whose_bytes_are_not_known(lock: str) -> None:
    text = (DOCKER / "locks" / f"{lock}.txt").read_text().replace("\\\n", " ")
    assert all("--hash=sha256:" in line for line in text.splitlines())
    assert "://" not in text


def test_locks_are_made_of_what_is_checked_here() -> None:
    for image, extras in EXTRAS.items():
        assert f"\n{image}_EXTRAS := {' '.join(extras)}\n" in MAKEFILE
    assert {path.stem for path in DOCKER.glob("*.Dockerfile")} == set(EXTRAS)


@every_image
def test_a_dockerfile_is_of_its_image(image: str) -> None:
    text = (DOCKER / f"{image}.Dockerfile").read_text()
    assert f"--tag canicor-{image} ." in text
    assert f"deploy/docker/locks/{image}.txt ./\nRUN sh install-packages.sh {image}.txt\n" in text
    assert f'image.version="{PROJECT["version"]}"' in text
    settings = SETTINGS.get(image.partition("-")[0])
    if settings:
        listens = re.findall(r"CANICOR_(\w+_LISTEN)=0.0.0.0:(\d+)", text)
        assert {name.lower() for name, _ in listens} == {
            name for name in settings.model_fields if name.endswith("_listen")
        }
        (exposed,) = re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)
        assert set(exposed.split()) == {port for _, port in listens}


@every_image
def test_hadolint_finds_nothing_wrong(image: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), DOCKER / f"{image}.Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_has_settings_and_ports_of_the_code() -> None:
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    for name, settings in SETTINGS.items():
        service = services[name]
        assert service["build"]["dockerfile"] == f"deploy/docker/{name}.Dockerfile"
        known = {f"CANICOR_{one.upper()}" for one in {**settings.model_fields, **ClientSettings.model_fields}}
        assert {one for one in service["environment"] if one.startswith("CANICOR_")} <= known
        listened = {str(field.default).rpartition(":")[2] for field in settings.model_fields.values()}
        for port in service["ports"]:
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1"
            assert outside == inside
            assert inside in listened


def test_licences_of_all_that_is_shipped_are_listed_and_leave_users_free() -> None:
    text = (ROOT / "docs/licences.md").read_text()
    listed = dict(re.findall(r"^\| ([a-z0-9.-]+) \| (.+?) \|", text, re.MULTILINE))
    for image in EXTRAS:
        assert locked(image).keys() - listed.keys() == set(), "python deploy/docker/licences.py"
    assert "not stated" not in listed.values()
    # LGPL binds who changes the library itself; GPL and AGPL, all that it is shipped with.
    assert not [name for name, licence in listed.items() if re.search(r"\bA?GPL", licence)]
    page = json.loads((ROOT / "services/labeling/page/package.json").read_text())
    assert all(f"{name} (" in text for name in page["dependencies"])
