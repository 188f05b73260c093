"""Versions that come, are refused, go back and are freed, with nobody left without an answer."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from canicor.bundle import Limits
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1 import model_admin_pb2 as admin_pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.classifier.v1.model_admin_pb2_grpc import ModelAdminServiceStub
from canicor.client import Classifier
from canicor.errors import (
    CanicorError,
    FailedPrecondition,
    NotFound,
)
from canicor.model_repository import Alias, ModelRepository
from tests import toy_models
from tests.servers import Server, until

Serve = Callable[..., Server]


@pytest.fixture
def admin(server: Server) -> Iterator[ModelAdminServiceStub]:
    with server.channel() as channel:
        yield ModelAdminServiceStub(channel)


def test_takes_up_a_new_version_and_drops_nothing(
    server: Server, repository: ModelRepository, classifier: Classifier, picture: bytes
) -> None:
    versions = []
    swapped = threading.Event()

    def call() -> None:
        while not swapped.is_set():
            versions.append(classifier.classify(picture).model.version)

    with ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(call) for _ in range(2)]
        try:
            toy_models.push(repository)
            until(lambda: [model.reference.version for model in classifier.models()] == ["2"])
        finally:
            swapped.set()
        for one in calls:
            one.result()
    assert set(versions) <= {"1", "2"}
    assert classifier.classify(picture).model.version == "2"


def test_keeps_the_old_version_where_the_new_one_is_bad(
    tmp_path: Path,
    repository: ModelRepository,
    classifier: Classifier,
    admin: ModelAdminServiceStub,
    picture: bytes,
) -> None:
    toy_models.push(repository, production=False)
    (tmp_path / "home" / "models" / "vhs-keypoints" / "2" / "model.onnx").write_bytes(b"tampered with")
    repository.set_alias("vhs-keypoints", Alias.PRODUCTION, "2")
    request = admin_pb.GetModelStatusRequest(name="vhs-keypoints")

    until(lambda: admin.GetModelStatus(request).statuses[1].state == admin_pb.MODEL_STATE_REFUSED)

    assert "checksum" in admin.GetModelStatus(request).statuses[1].message
    assert classifier.classify(picture).model.version == "1"


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (b"no ONNX", FailedPrecondition),
        (toy_models.class_model(), FailedPrecondition),
        (toy_models.keypoints_model(np.full((6, 2), np.nan)), FailedPrecondition),
        (toy_models.keypoints_model(distance=[1.0, 2.0]), FailedPrecondition),
        (toy_models.keypoints_model(heat_map=[0.5]), FailedPrecondition),
    ],
    ids=["not ONNX", "other outputs", "not finite", "two distances", "flat heat map"],
)
def test_refuses_a_model_that_is_not_what_its_bundle_says(
    repository: ModelRepository,
    admin: ModelAdminServiceStub,
    model: bytes,
    error: type[CanicorError],
) -> None:
    toy_models.push(repository, model, production=False)
    reference = pb.ModelReference(name="vhs-keypoints", version="2")
    with pytest.raises(grpc.RpcError) as caught:
        admin.SetAlias(admin_pb.SetAliasRequest(model=reference, alias="production"))
    assert caught.value.code().name == error.status
    assert repository.aliases("vhs-keypoints").aliases[Alias.PRODUCTION] == "1"


def test_refuses_a_limit_that_its_graph_can_not_keep(
    repository: ModelRepository, admin: ModelAdminServiceStub
) -> None:
    toy_models.push(repository, production=False, limits=Limits(max_distance=5))
    reference = pb.ModelReference(name="vhs-keypoints", version="2")
    with pytest.raises(grpc.RpcError) as caught:
        admin.LoadModel(admin_pb.LoadModelRequest(model=reference))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "limit of distance" in caught.value.details()


def test_rolls_back(
    repository: ModelRepository, admin: ModelAdminServiceStub, classifier: Classifier, picture: bytes
) -> None:
    toy_models.push(repository, production=False)
    reference = pb.ModelReference(name="vhs-keypoints", version="2")
    admin.SetAlias(admin_pb.SetAliasRequest(model=reference, alias="production"))
    assert classifier.classify(picture).model.version == "2"

    assert admin.RollBack(admin_pb.RollBackRequest(name="vhs-keypoints")).model.version == "1"

    assert classifier.classify(picture).model.version == "1"
    with pytest.raises(grpc.RpcError) as caught:
        admin.RollBack(admin_pb.RollBackRequest(name="vhs-keypoints"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_loads_beside_production_and_unloads(
    repository: ModelRepository, admin: ModelAdminServiceStub, classifier: Classifier, picture: bytes
) -> None:
    toy_models.push(repository, production=False)
    reference = pb.ModelReference(name="vhs-keypoints", version="2")
    admin.LoadModel(admin_pb.LoadModelRequest(model=reference))
    assert classifier.classify(picture, model="vhs-keypoints/2").model.version == "2"
    assert classifier.classify(picture).model.version == "1"

    admin.UnloadModel(admin_pb.UnloadModelRequest(model=reference))

    with pytest.raises(NotFound):
        classifier.classify(picture, model="vhs-keypoints/2")
    production = pb.ModelReference(name="vhs-keypoints", version="1")
    with pytest.raises(grpc.RpcError) as caught:
        admin.UnloadModel(admin_pb.UnloadModelRequest(model=production))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_missing_version_is_not_found(admin: ModelAdminServiceStub) -> None:
    reference = pb.ModelReference(name="vhs-keypoints", version="9")
    with pytest.raises(grpc.RpcError) as caught:
        admin.LoadModel(admin_pb.LoadModelRequest(model=reference))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_refuses_what_no_longer_says_what_it_said_when_it_was_made(
    repository: ModelRepository, admin: ModelAdminServiceStub, classifier: Classifier, picture: bytes
) -> None:
    shifted = np.array(toy_models.NORMAL_HEART) + 1
    toy_models.push(repository, production=False, predictions=toy_models.predicted(shifted))
    toy_models.push(repository, production=False, predictions=toy_models.predicted())
    first, second = (pb.ModelReference(name="vhs-keypoints", version=version) for version in "23")
    with pytest.raises(grpc.RpcError, match="recorded predictions") as caught:
        admin.SetAlias(admin_pb.SetAliasRequest(model=first, alias="production"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert classifier.classify(picture).model.version == "1"
    admin.SetAlias(admin_pb.SetAliasRequest(model=second, alias="production"))
    assert classifier.classify(picture).model.version == "3"


def test_frees_what_it_no_longer_serves(
    server: Server, repository: ModelRepository, classifier: Classifier, picture: bytes
) -> None:
    def resident_megabytes() -> float:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def serve_heavy_one() -> None:
        version = toy_models.push(repository, heavy)
        until(lambda: classifier.classify(picture).model.version == version)

    heavy = toy_models.heavy_keypoints_model(64)
    serve_heavy_one()
    with_one = resident_megabytes()
    for _ in range(4):
        serve_heavy_one()
    until(lambda: bool(classifier.models()) and resident_megabytes() < with_one + 96)


def test_outlasts_a_repository_that_is_away(
    server: Server, repository: ModelRepository, classifier: Classifier, picture: bytes
) -> None:
    models, away = server.home / "models", server.home / "away"
    models.rename(away)
    assert classifier.classify(picture).model.version == "1"

    away.rename(models)
    toy_models.push(repository)
    until(lambda: classifier.classify(picture).model.version == "2")


def test_refuses_what_is_too_slow(serve: Serve, repository: ModelRepository, picture: bytes) -> None:
    toy_models.push(repository)
    server = serve("classifier", CANICOR_SLOWEST_INFERENCE="1e-9")
    with server.channel() as channel:
        (status,) = ModelAdminServiceStub(channel).GetModelStatus(admin_pb.GetModelStatusRequest()).statuses
    assert status.state == admin_pb.MODEL_STATE_REFUSED
    assert "CANICOR_SLOWEST_INFERENCE" in status.message


def test_kill_in_the_middle_of_reloads(
    server: Server, repository: ModelRepository, classifier: Classifier, picture: bytes
) -> None:
    killed = threading.Event()

    def push() -> None:
        while not killed.is_set():
            toy_models.push(repository)

    with ThreadPoolExecutor(1) as pushing:
        pushed = pushing.submit(push)
        try:
            until(lambda: int(classifier.classify(picture).model.version) > 3)
        finally:
            server.kill()
            killed.set()
        pushed.result()
    server.start()

    newest = repository.versions("vhs-keypoints")[-1]
    answer = classifier.classify(picture)
    assert answer.model.version == newest
    assert answer.vhs.value == pytest.approx(8.75)


def test_card_comes_with_the_model(server: Server) -> None:
    with server.channel() as channel:
        model = ClassifierServiceStub(channel).GetModel(pb.GetModelRequest()).model
    assert model.card == "# A toy\n"
    assert model.kind == pb.MODEL_KIND_KEYPOINTS
    assert list(model.training_origins) == ["phantom"]
    assert model.engine in ("onnxruntime-fp32", "openvino-fp32")
