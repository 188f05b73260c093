"""Radiographs of 2500 x 3000 pixels with known points, and a labelling project that has them."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from canicor import phantom
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import key_points_message
from canicor.vhs import KeyPoints
from tests.browsers import Labeller
from tests.clinics import Clinic
from tests.servers import until

WIDTH, HEIGHT = 2500, 3000
_SHRUNK = 5
NEAR = 0.5  # pixels


@dataclass(frozen=True)
class Film:
    content: bytes
    points: KeyPoints


def film(index: int, bits: int = 8) -> Film:
    """A phantom, drawn small and enlarged: at its whole size it takes a second."""
    small = phantom.draw(3, index, width=WIDTH // _SHRUNK, height=HEIGHT // _SHRUNK, bits=bits)
    pixels = np.kron(small.pixels, np.ones((_SHRUNK, _SHRUNK), small.pixels.dtype))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return Film(file.getvalue(), KeyPoints.from_array(_SHRUNK * (small.key_points.xy + 0.5) - 0.5))


def hand_in(clinic: Clinic, count: int, bits: int = 8) -> list[Film]:
    films = [film(index, bits) for index in range(count)]
    for one in films:
        clinic("mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=one.content)])
    return films


def labels(clinic: Clinic) -> list[pb.Label]:
    return list(clinic("rita", "ListLabels", project="hearts", page_size=1000).labels)


def all_delivered(clinic: Clinic, labeller: Labeller, count: int) -> list[pb.Label]:
    """Waits until the page has nothing left to label, and the service has it all."""
    expect(labeller.page.locator("#empty")).to_contain_text("no image left")
    until(lambda: len(labels(clinic)) >= count)
    found = labels(clinic)
    assert len(found) == count
    return found


def other_points(points: KeyPoints, by: float) -> KeyPoints:
    """The same with an apex that lies further off, by so many pixels."""
    xy = points.xy.copy()
    xy[1] += by * (xy[1] - xy[0]) / np.linalg.norm(xy[1] - xy[0])
    return KeyPoints.from_array(xy)


def label(clinic: Clinic, person: str, request_id: str, points: KeyPoints) -> pb.Label:
    lease_id = clinic.lease(person).lease_id
    request = {"request_id": request_id, "lease_id": lease_id, "key_points": key_points_message(points)}
    return clinic(person, "SubmitLabel", **request).label


def by_two(clinic: Clinic) -> list[Film]:
    """Three images with two labels each, which agree but for those of the second."""
    clinic("mia", "SetProject", project=pb.Project(name="hearts", labels_per_image=2))
    films = hand_in(clinic, 3)
    for number, (one, apart) in enumerate(zip(films, (5.0, 400.0, 5.0), strict=True)):
        label(clinic, "anna", f"a{number}", one.points)
        label(clinic, "ben", f"b{number}", other_points(one.points, apart))
    return films
