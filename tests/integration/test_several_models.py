"""More models than the one that answers: a second opinion beside it, a candidate in its shadow."""

from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest

from canicor.bundle import ModelKind
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1 import model_admin_pb2 as admin_pb
from canicor.classifier.v1.model_admin_pb2_grpc import ModelAdminServiceStub
from canicor.client import Classifier
from canicor.model_repository import Alias, ModelRepository
from tests import toy_models
from tests.servers import Server, metrics, until

LARGE_HEART = np.array(toy_models.NORMAL_HEART) * [1, 1.3]
"""VHS of 6 (26 + 15) / 24 = 10.25."""


@pytest.fixture
def admin(server: Server) -> Iterator[ModelAdminServiceStub]:
    with server.channel() as channel:
        yield ModelAdminServiceStub(channel)


def shadow(admin: ModelAdminServiceStub, version: str) -> str:
    return admin.SetShadow(admin_pb.SetShadowRequest(name="vhs-keypoints", version=version)).version


class TestSecondOpinion:
    @pytest.fixture
    def ask(
        self, serve: Callable[..., Server], repository: ModelRepository, picture: bytes
    ) -> Callable[..., pb.ClassifyResponse]:
        def ask(probabilities: tuple[float, ...], model: str = "", **settings: str) -> pb.ClassifyResponse:
            toy_models.push(repository)
            graph = toy_models.class_model(probabilities)
            toy_models.push(repository, graph, "vhs-classifier", kind=ModelKind.CLASSIFIER, set_probability=0.5)
            with Classifier(serve("classifier", **settings).client_settings()) as classifier:
                return classifier.classify(picture, model=model)

        return ask

    def test_agrees(self, ask: Callable[..., pb.ClassifyResponse]) -> None:
        answer = ask((0.1, 0.8, 0.1))
        assert answer.decision == pb.DECISION_ACCEPT
        assert answer.model.name == "vhs-keypoints"

    def test_disagrees(self, ask: Callable[..., pb.ClassifyResponse]) -> None:
        answer = ask((0.1, 0.1, 0.8))
        assert answer.decision == pb.DECISION_REFER
        (referral,) = answer.referrals
        assert referral.reason == pb.REFERRAL_REASON_MODELS_DISAGREE
        assert "Normal" in referral.message
        assert "Large" in referral.message
        assert answer.vhs.value == pytest.approx(8.75)

    def test_can_be_left_out(self, ask: Callable[..., pb.ClassifyResponse]) -> None:
        assert ask((0.1, 0.1, 0.8), CANICOR_SECOND_MODEL="none").decision == pb.DECISION_ACCEPT

    def test_is_not_asked_of_itself(self, ask: Callable[..., pb.ClassifyResponse]) -> None:
        answer = ask((0.1, 0.1, 0.8), model="vhs-classifier")
        assert answer.model.name == "vhs-classifier"
        assert answer.decision == pb.DECISION_ACCEPT


class TestShadow:
    def test_scores_beside_production_and_answers_nobody(
        self,
        server: Server,
        repository: ModelRepository,
        classifier: Classifier,
        admin: ModelAdminServiceStub,
        picture: bytes,
    ) -> None:
        candidate = toy_models.push(repository, toy_models.keypoints_model(LARGE_HEART), production=False)
        assert shadow(admin, candidate) == candidate
        for _ in range(3):
            assert classifier.classify(picture).model.version == "1"

        labels = 'heart_size="Large",model="vhs-keypoints",production_heart_size="Normal",version="2"'
        until(lambda: f"canicor_classifier_shadow_answers_total{{{labels}}} 3.0" in metrics(server))
        page = metrics(server)
        # A difference of 1.5 vertebrae, three times.
        bucket = 'shadow_vhs_difference_bucket{le="%s",model="vhs-keypoints",version="2"} %s'
        assert bucket % ("1.0", "0.0") in page
        assert bucket % ("2.0", "3.0") in page
        assert 'answers_total{decision="ACCEPT",heart_size="Normal",model="vhs-keypoints",version="1"} 3.0' in page
        statuses = admin.GetModelStatus(admin_pb.GetModelStatusRequest()).statuses
        states = {one.model.version: one.state for one in statuses}
        assert states == {"1": admin_pb.MODEL_STATE_READY, "2": admin_pb.MODEL_STATE_SHADOW}

    def test_outlasts_a_restart_and_ends_on_request(
        self,
        server: Server,
        repository: ModelRepository,
        classifier: Classifier,
        admin: ModelAdminServiceStub,
    ) -> None:
        shadow(admin, toy_models.push(repository, production=False))
        server.terminate()
        server.start()
        assert [list(model.aliases) for model in classifier.models()] == [["production"], ["shadow"]]
        assert shadow(admin, "") == ""
        assert [list(model.aliases) for model in classifier.models()] == [["production"]]

    def test_a_candidate_that_can_not_score_changes_nothing_for_production(
        self,
        server: Server,
        repository: ModelRepository,
        classifier: Classifier,
        admin: ModelAdminServiceStub,
        picture: bytes,
    ) -> None:
        # Its points coincide: nothing to measure, so no VHS to compare.
        shadow(admin, toy_models.push(repository, toy_models.keypoints_model(np.ones((6, 2))), production=False))
        assert classifier.classify(picture).vhs.value == pytest.approx(8.75)
        until(lambda: 'shadow_answers_total{heart_size="",' in metrics(server))

    def test_is_refused_where_it_does_not_run(
        self, repository: ModelRepository, admin: ModelAdminServiceStub
    ) -> None:
        toy_models.push(repository, b"no ONNX", production=False)
        with pytest.raises(grpc.RpcError) as caught:
            shadow(admin, "2")
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(grpc.RpcError) as caught:
            shadow(admin, "seven")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert Alias.SHADOW not in repository.aliases("vhs-keypoints").aliases

    def test_is_not_unloaded_while_it_is_one(
        self, repository: ModelRepository, admin: ModelAdminServiceStub
    ) -> None:
        shadow(admin, toy_models.push(repository, production=False))
        with pytest.raises(grpc.RpcError) as caught:
            admin.UnloadModel(
                admin_pb.UnloadModelRequest(model=pb.ModelReference(name="vhs-keypoints", version="2"))
            )
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    def test_is_set_by_its_own_call_alone(self, admin: ModelAdminServiceStub) -> None:
        reference = pb.ModelReference(name="vhs-keypoints", version="1")
        with pytest.raises(grpc.RpcError) as caught:
            admin.SetAlias(admin_pb.SetAliasRequest(model=reference, alias="shadow"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
