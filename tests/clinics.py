"""A labeling server, the people who call it, and what they label."""

import hashlib
import io
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic import SecretStr

from canicor.client import translated
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.measurement.v1 import measurement_pb2 as measurement
from canicor.messages import key_points_message
from canicor.vhs import KeyPoints
from tests.servers import Server

PEOPLE = {
    "anna": "label",
    "ben": "label",
    "rita": "review",
    "mia": "manage",
    "gus": "generate",
    "carl": "classify",
    **{f"labeller-{number}": "label" for number in range(8)},
}


WIDTH, HEIGHT = 80, 60


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def points(vhs: float = 9.0) -> measurement.KeyPoints:
    """Points whose ruler is 30 pixels, so a vertebra is 5, and whose axes share the VHS."""
    axis = vhs * 5 / 2
    xy = [(10, 20), (10, 20 + axis), (20, 30), (20 + axis, 30), (20, 5), (50, 5)]
    return key_points_message(KeyPoints.from_array(xy))


class Clinic:
    """A labeling server and the people who call it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self._channels: list[grpc.Channel] = []
        self.folder = folder

    def channel(self, name: str, server: Server | None = None) -> grpc.Channel:
        channel = (server or self.server).channel(token=SecretStr(token_of(name)))
        self._channels.append(channel)
        return channel

    def __call__(self, person: str, method: str, **fields: object):
        request = getattr(pb, f"{method}Request")(**fields)
        stub = LabelingServiceStub(self.channel(person))
        with translated():
            return getattr(stub, method)(request, timeout=30)

    def add(self, count: int, project: str = "hearts") -> list[str]:
        content = [pb.ImportImage(content=png(number)) for number in range(count)]
        return list(self("mia", "ImportImages", project=project, images=content).image_ids)

    def lease(self, person: str, project: str = "hearts") -> pb.Task:
        return self(person, "LeaseTask", project=project).task

    def label(self, person: str, request_id: str, vhs: float = 9.0, **fields: object) -> pb.Label:
        lease_id = self.lease(person).lease_id
        return self(
            person, "SubmitLabel", request_id=request_id, lease_id=lease_id, key_points=points(vhs), **fields
        ).label

    def export(self, **fields: object) -> tuple[list[bytes], str, int]:
        with translated():
            request = pb.ExportDatasetRequest(**{"project": "hearts", **fields})
            parts = list(LabelingServiceStub(self.channel("mia")).ExportDataset(request, timeout=30))
        assert all(not part.digest for part in parts[:-1])
        return [part.chunk for part in parts], parts[-1].digest, parts[-1].row_count

    def metric(self, line: str) -> float:
        with urllib.request.urlopen(f"http://{self.server.metrics_address}/metrics") as page:
            found = [row for row in page.read().decode().splitlines() if row.startswith(f"{line} ")]
        return float(found[0].split()[-1])

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


def token_of(name: str) -> str:
    return f"token of {name}"


on_both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    return write_tokens(tmp_path / "tokens.toml")


def write_tokens(path: Path) -> Path:
    """Writes the file of everybody's tokens, and of one for the labeling service itself."""
    entries = [
        f'[[tokens]]\nname = "{name}"\nroles = ["{role}"]\n'
        f'sha256 = "{hashlib.sha256(token_of(name).encode()).hexdigest()}"\n'
        for name, role in {**PEOPLE, "labeling": "label"}.items()
    ]
    path.write_text("\n".join(entries))
    return path
