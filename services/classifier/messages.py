"""The classifier's own types as the API's messages."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from canicor.bundle import ModelKind
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1 import model_admin_pb2 as admin_pb
from canicor.measurement.v1.measurement_pb2 import HEART_SIZE_UNSPECIFIED
from canicor.messages import heart_size_message, key_points_message
from canicor.model_repository import Alias
from services.classifier.answer import Answer, notices
from services.classifier.model import Model
from services.classifier.models import Status
from services.classifier.reading import Classification

_KINDS = {
    ModelKind.CLASSIFIER: pb.MODEL_KIND_CLASSIFIER,
    ModelKind.KEYPOINTS: pb.MODEL_KIND_KEYPOINTS,
}


def classify_response(done: Classification, request_id: str, picture: bytes) -> pb.ClassifyResponse:
    """Returns an answer as a message."""
    said = done.answer
    response = pb.ClassifyResponse(
        request_id=request_id,
        heart_size=heart_size_message(said.heart_size) if said.heart_size else HEART_SIZE_UNSPECIFIED,
        prediction_set=[heart_size_message(size) for size in said.prediction_set],
        vhs=_vhs_estimate(said, done.model.info.coverage),
        key_points=key_points_message(said.key_points) if said.key_points else None,
        decision=pb.DECISION_REFER if said.referrals else pb.DECISION_ACCEPT,
        referrals=[
            pb.Referral(reason=pb.ReferralReason.Value(f"REFERRAL_REASON_{one.reason}"), message=one.message)
            for one in said.referrals
        ],
        model=_reference(done.model),
        image_sha256=done.sha256,
        timings=pb.Timings(**{stage: _duration(seconds) for stage, seconds in done.seconds.items()}),
        notices=notices(done.model.info),
        explanation_png=picture,
    )
    if said.probabilities:
        small, normal, large = said.probabilities
        response.probabilities.CopyFrom(pb.Probabilities(small=small, normal=normal, large=large))
    return response


def model_message(model: Model, aliases: tuple[Alias, ...], *, with_card: bool = False) -> pb.Model:
    """Returns a loaded model as a message."""
    info = model.info
    return pb.Model(
        reference=_reference(model),
        kind=_KINDS[info.kind],
        aliases=aliases,
        input_height=info.input.height,
        input_width=info.input.width,
        metrics=[
            pb.Metric(name=name, value=one.value, lower=one.lower, upper=one.upper, count=one.count)
            for name, one in sorted(info.metrics.items())
        ],
        training_origins=info.training_origins,
        training_dataset_digest=info.training_dataset_digest,
        test_dataset_digest=info.test_dataset_digest,
        create_time=_timestamp(info.create_time.timestamp()),
        engine=model.engine,
        card=model.card if with_card else "",
        coverage=info.coverage,
    )


def status_message(status: Status) -> admin_pb.ModelStatus:
    """Returns the state of a version as a message."""
    return admin_pb.ModelStatus(
        model=pb.ModelReference(name=status.name, version=status.version),
        state=admin_pb.ModelState.Value(f"MODEL_STATE_{status.state.name}"),
        aliases=status.aliases,
        message=status.message,
        update_time=_timestamp(status.update_time.timestamp()),
    )


def _vhs_estimate(said: Answer, coverage: float) -> pb.VhsEstimate | None:
    if said.measurement is None or said.vhs_interval is None:
        return None
    lower, upper = said.vhs_interval
    return pb.VhsEstimate(
        value=said.measurement.vhs,
        lower=lower,
        upper=upper,
        coverage=coverage,
        long_axis=said.measurement.long_axis,
        short_axis=said.measurement.short_axis,
    )


def _reference(model: Model) -> pb.ModelReference:
    return pb.ModelReference(name=model.name, version=model.version)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(round(seconds * 1e9))
    return timestamp
