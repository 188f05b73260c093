"""Writes the Python stubs of every .proto file, or checks that the committed ones are the same.

Usage: python protos/generate.py [--check] ROOT
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).parent


def generate(root: Path) -> list[Path]:
    """Writes the stubs below `root` and returns their paths, relative to it."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    outputs = [f"--{kind}_out={root}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}", *outputs, *sources]
    subprocess.run(command, check=True)
    stems = [Path(source).with_suffix("") for source in sources]
    return sorted(path.relative_to(root) for stem in stems for path in root.glob(f"{stem}_pb2*"))


def differing(root: Path) -> list[Path]:
    """Returns the stubs below `root` that are not what the .proto files give, or belong to none."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        expected = {path: (fresh / path).read_bytes() for path in generate(fresh)}
    committed = {
        path.relative_to(root): path.read_bytes()
        for service in PROTOS.glob("canicor/*/v1")
        for path in (root / service.relative_to(PROTOS)).glob("*_pb2*")
        if path.suffix in {".py", ".pyi"}
    }
    paths = expected.keys() | committed.keys()
    return sorted(path for path in paths if expected.get(path) != committed.get(path))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("root", type=Path)
    arguments = parser.parse_args()
    if not arguments.check:
        generate(arguments.root)
        return
    stale = differing(arguments.root)
    for path in stale:
        print(f"{path} differs from its .proto: run `make protos`", file=sys.stderr)
    sys.exit(bool(stale))


if __name__ == "__main__":
    main()
