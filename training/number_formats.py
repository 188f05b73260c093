"""The same graph in other number formats: 8-bit integers for CPUs, 16-bit floats for GPUs."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from canicor.bundle import DISTANCE, INPUT, OUTPUTS, Metric, ModelKind, NumberFormat
from canicor.onnx_runtime import CPU
from training.dataset import Dataset, Images
from training.evaluation import ask, mean_with_interval, stated_vhs, subjects_of

_CALIBRATION_IMAGES = 64

_WITH_WEIGHTS = ["Conv", "Gemm", "MatMul"]


# ONNX Runtime's own tools come in inside the functions: after canicor.onnx_runtime, which turns its telemetry off.


def int8(model: bytes, images: NDArray[np.uint8]) -> bytes:
    """Returns a graph whose layers with weights have them, and what they take, in 8 bits.

    Static quantisation after training, weights by output channel (Jacob et al., CVPR 2018, section 3), with
    quantise and dequantise nodes that every runtime reads. The rest costs little and needs its 32 bits: the means
    over heat maps, which are points to a tenth of a pixel, and the distance.

    Args:
        model: The ONNX file.
        images: uint8 [N, height, width] of the input, from the training split, that ranges are measured on.
    """
    from onnxruntime import quantization

    rest = iter(images)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(rest, None)
            return None if image is None else {INPUT: image[np.newaxis]}

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        # Symbolic shapes are for transformers, and not to be had of what is served: there this step stops.
        graph = onnx.load_from_string(model)
        quantization.quant_pre_process(graph, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantised,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=_WITH_WEIGHTS,
            nodes_to_exclude=[node.name for node in graph.graph.node if node.name.startswith(f"/{DISTANCE}/")],
            calibration_providers=[CPU],
        )
        return quantised.read_bytes()


def fp16(model: bytes) -> bytes:
    """Returns a graph whose encoders compute in 16-bit floats.

    All else needs its 32 bits: a place on a patch, and the point that comes of it, would be off by half a pixel.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = onnx.load_from_string(model)
    rest = [node.name for node in graph.graph.node if "/encoder/" not in node.name]
    converted = convert_float_to_float16(graph, keep_io_types=True, node_block_list=rest)
    # The tool takes what is kept in 32 bits through 16 from each node to the next.
    rounded = {
        node.output[0]: node.input[0]
        for node in converted.graph.node
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16
    }
    for node in converted.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT:
            node.input[0] = rounded.get(node.input[0], node.input[0])
    return bytes(converted.SerializeToString())


def variants(
    model: bytes, kind: ModelKind, formats: Iterable[NumberFormat], dataset: Dataset, seed: int
) -> dict[str, bytes]:
    """Returns those of the formats that do no worse than the model itself, by their file in a bundle.

    No worse: on the validation split a class model's accuracy is not below the model's own 95 % interval, a
    key-point model's mean absolute VHS error not above it.

    Args:
        model: The ONNX file.
        kind: Its kind.
        formats: To make.
        dataset: Ranges are measured on its training split, the verdict on its validation split.
        seed: Of the bootstrap.
    """
    own = _score(model, kind, dataset.validation, seed)
    made = {}
    for number_format in formats:
        if number_format is NumberFormat.INT8:
            graph = int8(model, dataset.train.pixels[:_CALIBRATION_IMAGES])
        else:
            graph = fp16(model)
        score = _score(graph, kind, dataset.validation, seed).value
        if score >= own.lower if kind is ModelKind.CLASSIFIER else score <= own.upper:
            made[number_format.file] = graph
    return made


def _score(graph: bytes, kind: ModelKind, images: Images, seed: int) -> Metric:
    outputs, *_ = ask(graph, OUTPUTS[kind], images.pixels)
    if kind is ModelKind.CLASSIFIER:
        scores = (outputs.argmax(axis=1) == images.classes).astype(np.float64)
    else:
        scores = np.abs(images.vhs_of(outputs) - stated_vhs(images))
    return mean_with_interval(scores, subjects_of(images), seed)
