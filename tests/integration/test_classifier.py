import asyncio
import hashlib
import io
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pydicom
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image
from pydicom.data import get_testdata_file

from canicor.bundle import Histogram, Limits, ModelKind, Reference
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.classifier.v1.model_admin_pb2_grpc import ModelAdminServiceStub
from canicor.client import AsyncClassifier, Classifier
from canicor.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from canicor.measurement.v1 import measurement_pb2
from canicor.messages import key_points_from
from canicor.model_repository import ModelRepository
from canicor.vhs import measure
from tests import toy_models
from tests.png import png
from tests.servers import Server, until

Serve = Callable[..., Server]


@pytest.fixture
def admin(server: Server) -> Iterator[ModelAdminServiceStub]:
    with server.channel() as channel:
        yield ModelAdminServiceStub(channel)


class TestAnswer:
    def test_says_all_that_the_api_promises(self, classifier: Classifier, picture: bytes) -> None:
        answer = classifier.classify(picture, request_id="study 7")

        assert answer.request_id == "study 7"
        assert answer.image_sha256 == hashlib.sha256(picture).hexdigest()
        assert (answer.model.name, answer.model.version) == ("vhs-keypoints", "1")
        assert answer.vhs.lower == pytest.approx(answer.vhs.value - 0.3)
        assert answer.vhs.upper == pytest.approx(answer.vhs.value + 0.3)
        assert answer.vhs.coverage == 0.9
        total = answer.probabilities.small + answer.probabilities.normal + answer.probabilities.large
        assert total == pytest.approx(1)
        assert answer.timings.total.nanos > answer.timings.inference.nanos > 0
        assert any("phantoms" in notice for notice in answer.notices)
        assert any("Not cleared for diagnosis" in notice for notice in answer.notices)

    def test_measures_in_pixels_of_the_radiograph(self, classifier: Classifier, picture: bytes) -> None:
        # The toy's input is stretched from 192 x 128 to 96 x 64: everything is twice as large in the radiograph.
        answer = classifier.classify(picture)

        points = key_points_from(answer.key_points)
        assert points.xy == pytest.approx((np.array(toy_models.NORMAL_HEART) + 0.5) * 2 - 0.5)
        assert answer.vhs.value == pytest.approx(measure(points).vhs) == pytest.approx(8.75)
        assert answer.heart_size == measurement_pb2.HEART_SIZE_NORMAL
        assert answer.decision == pb.DECISION_ACCEPT
        assert not answer.referrals

    def test_refers_near_a_threshold(self, serve: Serve, repository: ModelRepository, picture: bytes) -> None:
        toy_models.push(repository, vhs_sigma=0.5)
        with Classifier(serve("classifier").client_settings()) as classifier:
            answer = classifier.classify(picture)

        assert answer.decision == pb.DECISION_REFER
        assert [one.reason for one in answer.referrals] == [pb.REFERRAL_REASON_NEAR_THRESHOLD]
        assert list(answer.prediction_set) == [
            measurement_pb2.HEART_SIZE_SMALL,
            measurement_pb2.HEART_SIZE_NORMAL,
        ]

    def test_refers_where_key_points_coincide(
        self, serve: Serve, repository: ModelRepository, picture: bytes
    ) -> None:
        toy_models.push(repository, toy_models.keypoints_model(np.ones((6, 2))))
        with Classifier(serve("classifier").client_settings()) as classifier:
            answer = classifier.classify(picture)

        assert answer.decision == pb.DECISION_REFER
        assert [one.reason for one in answer.referrals] == [pb.REFERRAL_REASON_IMPLAUSIBLE_KEY_POINTS]
        assert answer.heart_size == measurement_pb2.HEART_SIZE_UNSPECIFIED

    def test_takes_a_named_model(
        self, server: Server, repository: ModelRepository, classifier: Classifier, picture: bytes
    ) -> None:
        toy_models.push(repository, toy_models.class_model(), "vhs-classifier", kind=ModelKind.CLASSIFIER)
        until(lambda: len(classifier.models()) == 2)

        answer = classifier.classify(picture, model="vhs-classifier")

        assert answer.model.name == "vhs-classifier"
        assert not answer.HasField("vhs")
        assert answer.probabilities.normal == pytest.approx(0.7)

    def test_draws_the_key_points(self, server: Server, picture: bytes) -> None:
        request = pb.ClassifyRequest(image=picture, explanation=pb.EXPLANATION_KEY_POINT_OVERLAY)
        with server.channel() as channel:
            answer = ClassifierServiceStub(channel).Classify(request)

        overlay = Image.open(io.BytesIO(answer.explanation_png))
        assert overlay.size == (192, 128)
        assert len(set(overlay.get_flattened_data())) > 256  # colour, where the picture has grey alone

    @pytest.mark.parametrize("kind", ModelKind)
    def test_draws_the_heat_map(
        self, serve: Serve, repository: ModelRepository, picture: bytes, kind: ModelKind
    ) -> None:
        model = toy_models.keypoints_model if kind is ModelKind.KEYPOINTS else toy_models.class_model
        heat = np.zeros((8, 12))
        heat[6, 2] = 1
        toy_models.push(repository, model(heat_map=heat), kind=kind)
        with Classifier(serve("classifier").client_settings()) as classifier:
            answer = classifier.classify(picture, explanation=pb.EXPLANATION_HEAT_MAP)
            assert classifier.classify(picture).explanation_png == b""

        pixels = np.asarray(Image.open(io.BytesIO(answer.explanation_png))).astype(int)
        assert pixels.shape == (128, 192, 3)
        colour = pixels.max(axis=2) - pixels.min(axis=2)
        hottest = np.unravel_index(colour.argmax(), colour.shape)
        assert hottest == pytest.approx((6.5 / 8 * 128, 2.5 / 12 * 192), abs=8)  # half a cell
        assert not colour[:64].any()

    def test_refers_what_lies_too_far_from_what_the_model_knows(
        self, serve: Serve, repository: ModelRepository, picture: bytes
    ) -> None:
        toy_models.push(repository, toy_models.keypoints_model(distance=7.5), limits=Limits(max_distance=7))
        with Classifier(serve("classifier").client_settings()) as classifier:
            answer = classifier.classify(picture)

        assert answer.decision == pb.DECISION_REFER
        (referral,) = answer.referrals
        assert referral.reason == pb.REFERRAL_REASON_OUT_OF_DISTRIBUTION
        assert "7.5 standard deviations" in referral.message
        assert "limit of 7.0" in referral.message
        assert answer.heart_size == measurement_pb2.HEART_SIZE_NORMAL

    def test_refers_points_outside_the_radiograph(
        self, serve: Serve, repository: ModelRepository, picture: bytes
    ) -> None:
        moved = np.array(toy_models.NORMAL_HEART) - (25, 0)
        toy_models.push(repository, toy_models.keypoints_model(moved))
        with Classifier(serve("classifier").client_settings()) as classifier:
            answer = classifier.classify(picture)

        assert [one.reason for one in answer.referrals] == [pb.REFERRAL_REASON_IMPLAUSIBLE_KEY_POINTS]
        assert answer.referrals[0].message == "C lies outside the radiograph. E lies outside the radiograph."

    def test_async_client_gives_the_same(self, server: Server, picture: bytes) -> None:
        async def classify() -> tuple[pb.ClassifyResponse, list[pb.Model]]:
            async with AsyncClassifier(server.client_settings()) as client:
                return await client.classify(picture), await client.models()

        answer, models = asyncio.run(classify())
        assert answer.vhs.value == pytest.approx(8.75)
        assert [model.aliases for model in models] == [["production"]]


class TestAudit:
    def test_writes_down_who_was_told_what(self, server: Server, classifier: Classifier, picture: bytes) -> None:
        classifier.classify(picture, request_id="study 7")
        list(classifier.classify_many([pb.ClassifyRequest(image=picture, request_id="study 8")]))
        with pytest.raises(InvalidArgument):
            classifier.classify(b"no image", request_id="study 9")

        lines = [json.loads(line) for line in (server.home / "audit.jsonl").read_text().splitlines()]
        assert [line["request_id"] for line in lines] == ["study 7", "study 8"]
        digest = hashlib.sha256(picture).hexdigest()
        assert {(line["caller"], line["image_sha256"], line["decision"]) for line in lines} == {
            ("local", digest, "ACCEPT")
        }
        assert (lines[0]["model"], lines[0]["version"], lines[0]["class"]) == ("vhs-keypoints", "1", "Normal")
        assert lines[0]["vhs"] == pytest.approx(8.75)

    def test_goes_on_after_a_restart(self, server: Server, classifier: Classifier, picture: bytes) -> None:
        classifier.classify(picture, request_id="before")
        server.kill()
        server.start()
        classifier.classify(picture, request_id="after")
        lines = [json.loads(line) for line in (server.home / "audit.jsonl").read_text().splitlines()]
        assert [line["request_id"] for line in lines] == ["before", "after"]

    def test_goes_to_standard_output_on_request(
        self, serve: Serve, repository: ModelRepository, picture: bytes
    ) -> None:
        toy_models.push(repository)
        server = serve("classifier", CANICOR_AUDIT_LOG="-")
        with Classifier(server.client_settings()) as client:
            client.classify(picture, request_id="study 7")
        lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
        assert [line["class"] for line in lines if "image_sha256" in line] == ["Normal"]
        assert not list(server.home.glob("audit*"))


class TestDrift:
    def test_shows_on_the_metrics_page_once_there_is_enough(
        self, serve: Serve, repository: ModelRepository, picture: bytes
    ) -> None:
        # The reference knows dark pictures alone, and Normal hearts, which is what the toy finds.
        reference = Reference(
            count=50,
            features={
                "mean_grey": Histogram(edges=(20.0, 40.0), shares=(0.5, 0.5, 0.0)),
                "heart_size": Histogram(edges=(0.5, 1.5), shares=(0.0, 1.0, 0.0)),
            },
        )
        toy_models.push(repository, reference=reference)
        toy_models.push(repository, name="without", reference=None)
        server = serve("classifier", CANICOR_DRIFT_WINDOW="110")

        def gauges() -> dict[str, float]:
            with urllib.request.urlopen(f"http://{server.metrics_address}/metrics") as page:
                lines = page.read().decode().splitlines()
            drift = (line for line in lines if line.startswith("canicor_classifier_drift"))
            return {name: float(value) for name, _, value in (line.rpartition(" ") for line in drift)}

        with Classifier(server.client_settings()) as classifier:
            for _ in range(99):
                classifier.classify(picture)
            assert gauges() == {}
            for _ in range(21):
                classifier.classify(picture)
                classifier.classify(picture, model="without")

        of_version = 'model="vhs-keypoints",version="1"'
        found = gauges()
        assert found.pop(f"canicor_classifier_drift_answers{{{of_version}}}") == 110
        drift = 'canicor_classifier_drift_{}{{feature="{}",{}}}'
        assert found.pop(drift.format("psi", "mean_grey", of_version)) > 0.25
        assert found.pop(drift.format("ks", "mean_grey", of_version)) == 1
        assert found.pop(drift.format("psi", "heart_size", of_version)) == 0
        assert found.pop(drift.format("ks", "heart_size", of_version)) == 0
        assert found == {}


class TestStream:
    def test_answers_each_request_once(self, classifier: Classifier, picture: bytes) -> None:
        requests = [pb.ClassifyRequest(image=picture, request_id=str(i)) for i in range(50)]

        answers = list(classifier.classify_many(requests))

        assert sorted(int(answer.request_id) for answer in answers) == list(range(50))
        assert all(answer.response.model.version == "1" for answer in answers)

    def test_a_bad_radiograph_does_not_end_it(self, classifier: Classifier, picture: bytes) -> None:
        images = [picture, b"no image", picture]
        requests = [pb.ClassifyRequest(image=image, request_id=str(i)) for i, image in enumerate(images)]

        answers = {answer.request_id: answer for answer in classifier.classify_many(requests)}

        assert answers["1"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert answers["1"].error.reason == "NOT_AN_IMAGE"
        assert answers["0"].HasField("response")
        assert answers["2"].HasField("response")

    def test_answers_before_the_next_request(self, classifier: Classifier, picture: bytes) -> None:
        answered = threading.Event()

        def requests() -> Iterator[pb.ClassifyRequest]:
            for i in range(3):
                yield pb.ClassifyRequest(image=picture, request_id=str(i))
                assert answered.wait(30)
                answered.clear()

        ids = []
        for answer in classifier.classify_many(requests()):
            ids.append(answer.request_id)
            answered.set()
        assert ids == ["0", "1", "2"]

    def test_needs_request_ids(self, classifier: Classifier, picture: bytes) -> None:
        (answer,) = classifier.classify_many([pb.ClassifyRequest(image=picture)])
        assert answer.error.reason == "REQUEST_ID"


def dicom(change: Callable[[pydicom.Dataset], None] = lambda dataset: None) -> bytes:
    """A radiograph as a DICOM file, changed by the caller."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.Modality = "DX"
    change(dataset)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def _drop_pixels(dataset: pydicom.Dataset) -> None:
    del dataset.PixelData


def _double_frames(dataset: pydicom.Dataset) -> None:
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2


BAD_IMAGES = {
    "empty": (lambda: b"", "EMPTY_FILE"),
    "text": (lambda: b"The heart is large.", "NOT_AN_IMAGE"),
    "random": (lambda: np.random.default_rng(0).bytes(5000), "NOT_AN_IMAGE"),
    "truncated DICOM": (lambda: dicom()[:20000], "TRUNCATED"),
    "CT": (lambda: Path(get_testdata_file("CT_small.dcm")).read_bytes(), "WRONG_MODALITY"),
    "DICOM without pixels": (lambda: dicom(_drop_pixels), "NO_PIXELS"),
    "multi-frame DICOM": (lambda: dicom(_double_frames), "MULTI_FRAME"),
    "colour photo": (
        lambda: png(np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)),
        "COLOUR_PHOTOGRAPH",
    ),
}


class TestBadInput:
    @pytest.mark.parametrize("name", BAD_IMAGES)
    def test_bad_image(self, classifier: Classifier, picture: bytes, name: str) -> None:
        make, reason = BAD_IMAGES[name]
        with pytest.raises(InvalidArgument) as caught:
            classifier.classify(make())
        assert caught.value.reason == reason
        assert caught.value.field == "image"
        assert caught.value.message.endswith(".")
        assert classifier.classify(picture).decision == pb.DECISION_ACCEPT

    def test_details_follow_googles_error_model(self, server: Server) -> None:
        with server.channel() as channel, pytest.raises(grpc.RpcError) as caught:
            ClassifierServiceStub(channel).Classify(pb.ClassifyRequest(image=b"no image"))
        status = rpc_status.from_call(caught.value)
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        assert status.details[0].Unpack(info)
        assert status.details[1].Unpack(request)
        assert (info.reason, info.domain) == ("NOT_AN_IMAGE", "canicor")
        assert request.field_violations[0].description == status.message

    def test_unknown_model(self, classifier: Classifier, picture: bytes) -> None:
        with pytest.raises(NotFound, match="nobody/7"):
            classifier.classify(picture, model="nobody/7")

    def test_over_long_request_id(self, classifier: Classifier, picture: bytes) -> None:
        with pytest.raises(InvalidArgument) as caught:
            classifier.classify(picture, request_id="x" * 129)
        assert caught.value.field == "request_id"

    @pytest.mark.parametrize(
        ("kind", "model", "asked", "given"),
        [
            (ModelKind.KEYPOINTS, toy_models.keypoints_model(), "HEAT_MAP", "it gives a key-point overlay."),
            (ModelKind.CLASSIFIER, toy_models.class_model(), "HEAT_MAP", "it gives no explanation."),
            (
                ModelKind.CLASSIFIER,
                toy_models.class_model(heat_map=[[0.5]]),
                "KEY_POINT_OVERLAY",
                "it gives a heat map.",
            ),
        ],
    )
    def test_explanation_that_the_model_lacks(
        self,
        serve: Serve,
        repository: ModelRepository,
        picture: bytes,
        kind: ModelKind,
        model: bytes,
        asked: str,
        given: str,
    ) -> None:
        toy_models.push(repository, model, kind=kind)
        request = pb.ClassifyRequest(image=picture, explanation=f"EXPLANATION_{asked}")
        with serve("classifier").channel() as channel, pytest.raises(grpc.RpcError) as caught:
            ClassifierServiceStub(channel).Classify(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details().endswith(given)

    @pytest.mark.parametrize(
        "request_", [pb.ListModelsRequest(page_size=-1), pb.ListModelsRequest(page_token="?")]
    )
    def test_bad_page(self, server: Server, request_: pb.ListModelsRequest) -> None:
        with server.channel() as channel, pytest.raises(grpc.RpcError) as caught:
            ClassifierServiceStub(channel).ListModels(request_)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    def test_no_model_names_the_command_that_makes_one(self, serve: Serve, picture: bytes) -> None:
        with (
            Classifier(serve("classifier").client_settings()) as classifier,
            pytest.raises(FailedPrecondition, match="canicor demo"),
        ):
            classifier.classify(picture)
