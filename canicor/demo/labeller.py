"""An automatic labeller: reads a phantom's exact points and errs as a person does."""

import numpy as np

from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.messages import key_points_message
from canicor.vhs import VERTEBRAE_SPANNED, KeyPoints

ERROR = 0.06
"""Standard deviation of each coordinate, in vertebrae: about 0.2 in VHS. Two readers of like experience differ by
about 0.5 (Hansson 2005)."""


def label(service: LabelingServiceStub, task: pb.Task, truth: KeyPoints, rng: np.random.Generator) -> None:
    """Labels a leased task.

    Args:
        service: Where the label goes.
        task: The lease.
        truth: The phantom's exact points.
        rng: Draws the error.
    """
    error = rng.normal(0, ERROR * vertebra(truth), truth.xy.shape)
    size = np.array([task.image.width, task.image.height])
    placed = KeyPoints.from_array(np.clip(truth.xy + error, 0, size - 1))
    service.SubmitLabel(
        pb.SubmitLabelRequest(
            request_id=task.lease_id, lease_id=task.lease_id, key_points=key_points_message(placed)
        )
    )


def vertebra(key_points: KeyPoints) -> float:
    """Returns the length of one vertebra in pixels."""
    e, f = key_points.xy[4:]
    return float(np.linalg.norm(f - e)) / VERTEBRAE_SPANNED
