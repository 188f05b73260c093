"""The classifier through the Open Inference Protocol v2."""

import struct
from collections.abc import Iterator

import numpy as np
import pytest

from canicor.bundle import ModelKind
from canicor.classifier.v1 import open_inference_pb2 as pb
from canicor.classifier.v1.open_inference_pb2_grpc import GRPCInferenceServiceStub
from canicor.client import Classifier, translated
from canicor.errors import InvalidArgument, NotFound
from canicor.messages import key_points_from
from canicor.model_repository import ModelRepository
from tests import toy_models
from tests.servers import Server, until

Input = pb.ModelInferRequest.InferInputTensor


@pytest.fixture
def stub(server: Server) -> Iterator[GRPCInferenceServiceStub]:
    with server.channel() as channel:
        yield GRPCInferenceServiceStub(channel)


def raw(*files: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def files_request(*files: bytes, **changes: object) -> pb.ModelInferRequest:
    fields = {
        "model_name": "vhs-keypoints",
        "inputs": [Input(name="image", datatype="BYTES", shape=[len(files)])],
        "raw_input_contents": [raw(*files)],
    }
    return pb.ModelInferRequest(**{**fields, **changes})


def floats(response: pb.ModelInferResponse, name: str) -> np.ndarray:
    index = [output.name for output in response.outputs].index(name)
    assert response.outputs[index].datatype == "FP32"
    values = np.frombuffer(response.raw_output_contents[index], "<f4")
    return values.reshape(tuple(response.outputs[index].shape))


def texts(response: pb.ModelInferResponse, name: str) -> list[str]:
    content = response.raw_output_contents[[output.name for output in response.outputs].index(name)]
    found = []
    while content:
        (length,) = struct.unpack_from("<I", content)
        found.append(content[4 : 4 + length].decode())
        content = content[4 + length :]
    return found


def test_files_get_the_answers_of_classify(server: Server, stub, picture: bytes) -> None:
    response = stub.ModelInfer(files_request(picture, picture, id="seven"))

    with Classifier(server.client_settings()) as classifier:
        answer = classifier.classify(picture)
    assert (response.id, response.model_name, response.model_version) == ("seven", "vhs-keypoints", "1")
    assert texts(response, "heart_size") == ["Normal", "Normal"]
    assert texts(response, "decision") == ["ACCEPT", "ACCEPT"]
    assert floats(response, "vhs") == pytest.approx([answer.vhs.value] * 2)
    assert floats(response, "vhs_interval")[0] == pytest.approx([answer.vhs.lower, answer.vhs.upper])
    assert floats(response, "radiograph_key_points")[1] == pytest.approx(key_points_from(answer.key_points).xy)
    assert floats(response, "class_probabilities").sum(axis=1) == pytest.approx([1, 1])
    assert "trained on phantoms" in response.parameters["notices"].string_param


def test_bytes_may_come_as_a_list(stub, picture: bytes) -> None:
    tensor = Input(name="image", datatype="BYTES", shape=[1], contents={"bytes_contents": [picture]})
    response = stub.ModelInfer(files_request(inputs=[tensor], raw_input_contents=[]))
    assert floats(response, "vhs") == pytest.approx([8.75])


@pytest.mark.parametrize("as_raw", [True, False])
def test_prepared_inputs_get_what_the_graph_gives(stub, as_raw: bool) -> None:
    images = np.zeros((3, toy_models.HEIGHT, toy_models.WIDTH), np.uint8)
    tensor = Input(name="images", datatype="UINT8", shape=images.shape)
    if not as_raw:
        tensor.contents.uint_contents.extend(images.ravel().tolist())
    contents = [images.tobytes()] if as_raw else []
    response = stub.ModelInfer(pb.ModelInferRequest(inputs=[tensor], raw_input_contents=contents))

    assert floats(response, "key_points") == pytest.approx(np.array([toy_models.NORMAL_HEART] * 3))
    assert floats(response, "peaks").shape == (3, 6)


def test_optional_outputs_of_the_graph(stub, repository: ModelRepository) -> None:
    model = toy_models.keypoints_model(distance=7.5, heat_map=np.full((8, 12), 0.5))
    toy_models.push(repository, model, "far")
    until(lambda: stub.ModelReady(pb.ModelReadyRequest(name="far")).ready)
    tensors = stub.ModelMetadata(pb.ModelMetadataRequest(name="far")).outputs
    assert {"distance": [-1], "heat_map": [-1, -1, -1]}.items() <= {
        tensor.name: list(tensor.shape) for tensor in tensors
    }.items()

    images = np.zeros((2, toy_models.HEIGHT, toy_models.WIDTH), np.uint8)
    request = pb.ModelInferRequest(
        model_name="far",
        inputs=[Input(name="images", datatype="UINT8", shape=images.shape)],
        raw_input_contents=[images.tobytes()],
    )
    assert [output.name for output in stub.ModelInfer(request).outputs] == ["key_points", "peaks", "distance"]
    request.outputs.add(name="heat_map")
    response = stub.ModelInfer(request)
    assert [output.name for output in response.outputs] == ["heat_map"]
    assert (floats(response, "heat_map") == np.full((2, 8, 12), 0.5)).all()


def test_only_wanted_outputs(stub, picture: bytes) -> None:
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in ("vhs", "decision")]
    response = stub.ModelInfer(files_request(picture, outputs=wanted))
    assert [output.name for output in response.outputs] == ["vhs", "decision"]


def test_says_what_it_is(stub, repository: ModelRepository) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "canicor"
    assert stub.ModelReady(pb.ModelReadyRequest(name="vhs-keypoints", version="1")).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="vhs-keypoints", version="2")).ready
    model = stub.ModelMetadata(pb.ModelMetadataRequest(name="vhs-keypoints"))
    assert list(model.versions) == ["1"]
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in model.inputs] == [
        ("image", "BYTES", [-1]),
        ("images", "UINT8", [-1, toy_models.HEIGHT, toy_models.WIDTH]),
    ]


def test_a_class_model_measures_nothing(stub, repository: ModelRepository, picture: bytes) -> None:
    toy_models.push(repository, toy_models.class_model(), "vhs-classifier", kind=ModelKind.CLASSIFIER)
    until(lambda: stub.ModelReady(pb.ModelReadyRequest(name="vhs-classifier")).ready)
    response = stub.ModelInfer(files_request(picture, model_name="vhs-classifier"))
    names = {output.name for output in response.outputs}
    assert names == {"heart_size", "class_probabilities", "decision", "reasons"}
    assert floats(response, "class_probabilities")[0] == pytest.approx([0.1, 0.7, 0.2])


def _image(**changes: object) -> list[Input]:
    return [Input(**{"name": "image", "datatype": "BYTES", "shape": [1], **changes})]


IMAGES = {"name": "images", "datatype": "UINT8"}
BAD = {
    "no input": {"inputs": []},
    "two inputs": {"inputs": _image() * 2},
    "unknown name": {"inputs": _image(name="picture")},
    "other type": {"inputs": _image(datatype="FP32")},
    "no image": {"inputs": _image(shape=[0]), "raw_input_contents": [b""]},
    "too many": {"inputs": _image(shape=[65]), "raw_input_contents": [raw(*[b"x"] * 65)]},
    "shape of another number": {"inputs": _image(shape=[2])},
    "negative shape": {"inputs": _image(shape=[-1])},
    "cut in a length": {"raw_input_contents": [b"\0\0"]},
    "cut in an element": {"raw_input_contents": [struct.pack("<I", 9) + b"short"]},
    "scalar": {"inputs": _image(shape=[])},
    "input of another size": {"inputs": _image(**IMAGES, shape=[1, 2, 2]), "raw_input_contents": [bytes(4)]},
    "values over 255": {
        "inputs": _image(**IMAGES, shape=[1], contents={"uint_contents": [256]}),
        "raw_input_contents": [],
    },
    "unknown output": {"outputs": [pb.ModelInferRequest.InferRequestedOutputTensor(name="breed")]},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tensors(stub, picture: bytes, name: str) -> None:
    with pytest.raises(InvalidArgument) as caught, translated():
        stub.ModelInfer(files_request(picture, **BAD[name]))
    assert caught.value.reason == "TENSOR"


def test_names_the_bad_file_of_several(stub, picture: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"image\[1\]") as caught, translated():
        stub.ModelInfer(files_request(picture, b"no image"))
    assert caught.value.reason == "NOT_AN_IMAGE"


@pytest.mark.parametrize(("model", "version"), [("nobody", ""), ("vhs-keypoints", "9"), ("", "1")])
def test_unknown_model(stub, picture: bytes, model: str, version: str) -> None:
    with pytest.raises(NotFound), translated():
        stub.ModelInfer(files_request(picture, model_name=model, model_version=version))
