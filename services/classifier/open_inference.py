"""The Open Inference Protocol v2: the classifier for KServe's and Triton's clients."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import grpc
import numpy as np
from numpy.typing import NDArray

import canicor
from canicor.bundle import INPUT, ModelKind
from canicor.classifier.v1 import open_inference_pb2 as pb
from canicor.classifier.v1.open_inference_pb2_grpc import GRPCInferenceServiceServicer
from canicor.errors import CanicorError, NotFound
from services.classifier.answer import notices
from services.classifier.audit import AuditLog
from services.classifier.classification import Classifications, deadline_of
from services.classifier.model import Model
from services.classifier.models import Models
from services.classifier.reading import Classification
from services.classifier.tensors import BYTES, FP32, UINT8, add_outputs, bad_tensor, input_tensor

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

IMAGE = "image"
"""The input that takes files."""

MOST_IMAGES = 64

# What Classify says, as tensors: name, type, shape after N, and where the value is read.
_ANSWERS: dict[str, tuple[str, tuple[int, ...], Callable[[Classification], Any]]] = {
    "heart_size": (BYTES, (), lambda done: (done.answer.heart_size or "").encode()),
    "class_probabilities": (FP32, (3,), lambda done: done.answer.probabilities or (np.nan,) * 3),
    "vhs": (FP32, (), lambda done: done.answer.measurement.vhs if done.answer.measurement else np.nan),
    "vhs_interval": (FP32, (2,), lambda done: done.answer.vhs_interval or (np.nan,) * 2),
    "radiograph_key_points": (FP32, (6, 2), lambda done: _key_points(done)),
    "decision": (BYTES, (), lambda done: b"REFER" if done.answer.referrals else b"ACCEPT"),
    "reasons": (BYTES, (), lambda done: " ".join(one.message for one in done.answer.referrals).encode()),
}


class OpenInference(GRPCInferenceServiceServicer):
    """Answers as `ClassifierService` does, in tensors.

    Args:
        models: The loaded models.
        classifications: Where the work is done.
        audit: Where answers are written down.
    """

    def __init__(self, models: Models, classifications: Classifications, audit: AuditLog) -> None:
        self._models = models
        self._classifications = classifications
        self._audit = audit

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Says that the server answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Says whether any model is loaded."""
        return pb.ServerReadyResponse(ready=bool(self._models.loaded()))

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Says whether a model is loaded."""
        try:
            self._models.get(_reference(request.name, request.version))
        except CanicorError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Names the server."""
        return pb.ServerMetadataResponse(name="canicor", version=canicor.__version__)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """Names a model's tensors."""
        model = self._models.get(_reference(request.name, request.version))
        versions = [one.version for one in self._models.loaded() if one.name == model.name]
        tensor = pb.ModelMetadataResponse.TensorMetadata
        size = model.info.input
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=versions,
            platform="onnxruntime_onnx",
            inputs=[
                tensor(name=IMAGE, datatype=BYTES, shape=[-1]),
                tensor(name=INPUT, datatype=UINT8, shape=[-1, size.height, size.width]),
            ],
            outputs=[
                *(
                    tensor(name=name, datatype=datatype, shape=[-1, *shape])
                    for name, (datatype, shape, _) in _answers_of(model).items()
                ),
                *(
                    tensor(name=name, datatype=FP32, shape=[-1, *(-1 if side is None else side for side in shape)])
                    for name, shape in model.outputs.items()
                ),
            ],
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Classifies files, or runs the graph on prepared inputs."""
        model = self._models.get(_reference(request.model_name, request.model_version))
        name, values = input_tensor(request)
        if values.ndim == 0 or not 1 <= len(values) <= MOST_IMAGES:
            raise bad_tensor(f"A request takes 1 to {MOST_IMAGES} images.", "inputs")
        if name == IMAGE and values.ndim == 1 and values.dtype == object:
            done = await self._classified(list(values), model, context)
            for one in done:
                self._audit.write(one, request.id)
            outputs = _tensors(done, model)
        elif name == INPUT and values.shape[1:] == (model.info.input.height, model.info.input.width):
            wanted = [output.name for output in request.outputs if output.name in model.outputs]
            outputs = await self._classifications.infer(values, model, wanted, deadline_of(context))
        else:
            size = model.info.input
            raise bad_tensor(
                f"The input must be {IMAGE}, BYTES [N], or {INPUT}, UINT8 [N, {size.height}, {size.width}].",
                "inputs",
            )
        response = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
        response.parameters["notices"].string_param = " ".join(notices(model.info))
        add_outputs(response, outputs, [output.name for output in request.outputs])
        return response

    async def _classified(self, images: Sequence[bytes], model: Model, context: Context) -> list[Classification]:
        async def classified(index: int, image: bytes) -> Classification:
            try:
                return await self._classifications.classify(image, model, deadline_of(context))
            except CanicorError as error:
                error.message = f"{IMAGE}[{index}]: {error.message}"
                raise

        return await asyncio.gather(*(classified(index, image) for index, image in enumerate(images)))


def _tensors(done: Sequence[Classification], model: Model) -> dict[str, NDArray[Any]]:
    return {
        name: np.array([read(one) for one in done], dtype=np.float32 if datatype == FP32 else object)
        for name, (datatype, _, read) in _answers_of(model).items()
    }


def _answers_of(model: Model) -> dict[str, tuple[str, tuple[int, ...], Callable[[Classification], Any]]]:
    """What Classify says with this kind of model."""
    if model.info.kind is ModelKind.KEYPOINTS:
        return _ANSWERS
    measured = {"vhs", "vhs_interval", "radiograph_key_points"}
    return {name: answer for name, answer in _ANSWERS.items() if name not in measured}


def _key_points(done: Classification) -> NDArray[np.float64]:
    return done.answer.key_points.xy if done.answer.key_points else np.full((6, 2), np.nan)


def _reference(name: str, version: str) -> str:
    if version and not name:
        raise NotFound("A version needs a model's name beside it.", reason="NO_SUCH_MODEL", field="model_name")
    return f"{name}/{version}" if version else name
