"""Writes docs/licences.md, what the images hold and under which licences: `python deploy/docker/licences.py`.

Names come from the locks, licences from the metadata of the packages that are installed here, and of what is not
from the list as it is.
"""

import re
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

LOCKS = Path(__file__).parent / "locks"
LIST = Path(__file__).parents[2] / "docs" / "licences.md"
HEAD = """# Licences

What the images hold beside Canicor (Apache-2.0), by `python deploy/docker/licences.py`. The
labelling page's script holds Canicor's own code and these from npm: {npm}.

| package | licence, as its metadata states it | images |
| --- | --- | --- |
"""
NPM = "idb (ISC)"
_LONG = 60
_IN_AN_IMAGE = {"sys_platform": "linux", "platform_system": "Linux", "python_full_version": "3.11.0"}


def packages() -> dict[str, list[str]]:
    """Images by package."""
    found: dict[str, list[str]] = {}
    for lock in sorted(LOCKS.glob("*.txt")):
        for line in re.findall(r"^[a-z0-9].*(?= \\$)", lock.read_text(), re.MULTILINE):
            package = Requirement(line)
            held = lock.stem != "build" and (package.marker is None or package.marker.evaluate(_IN_AN_IMAGE))
            if held and lock.stem not in found.setdefault(package.name, []):
                found[package.name].append(lock.stem)
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """What its metadata states: the expression, else the classifiers, else the text's first line."""
    metadata = package.metadata
    classifiers = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License :: ")
    ]
    text = metadata.get("License", "").strip().partition("\n")[0]
    stated = metadata.get("License-Expression") or ", ".join(one for one in classifiers if one != "OSI Approved")
    return stated or text[:_LONG].replace("UNKNOWN", "")


def known() -> dict[str, str]:
    """Licences by package, of the list as it is."""
    if not LIST.is_file():
        return {}
    return dict(re.findall(r"^\| ([a-z0-9.-]+) \| (.+?) \|", LIST.read_text(), re.MULTILINE))


def main() -> None:
    """Writes the list."""
    before = known()
    lines = [HEAD.format(npm=NPM)]
    for name, images in packages().items():
        stated = ""
        with suppress(PackageNotFoundError):
            stated = licence(distribution(name))
        lines.append(f"| {name} | {stated or before.get(name) or 'not stated'} | {', '.join(images)} |\n")
    LIST.write_text("".join(lines))


if __name__ == "__main__":
    main()
