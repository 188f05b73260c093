"""Models small enough to build in a test: what they answer is written into them."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from canicor.bundle import BundleInfo, InputSpec, ModelKind, Predictions
from canicor.model_input import ResizeRule
from canicor.model_repository import Alias, ModelRepository

HEIGHT, WIDTH = 64, 96

NORMAL_HEART = [[30, 10], [30, 30], [20, 20], [35, 20], [20, 5], [44, 5]]
"""Key points, in pixels of the input, with a VHS of 6 (20 + 15) / 24 = 8.75."""


def keypoints_model(points: ArrayLike = NORMAL_HEART, peak: float = 0.9, **optional: ArrayLike) -> bytes:
    """A graph that finds the same six points on every image, and gives optional outputs by their names."""
    return _constant_graph({"key_points": points, "peaks": np.full(6, peak), **optional})


def class_model(probabilities: ArrayLike = (0.1, 0.7, 0.2), **optional: ArrayLike) -> bytes:
    """A graph that gives the same probabilities on every image, and optional outputs by their names."""
    return _constant_graph({"probabilities": probabilities, **optional})


def info(kind: ModelKind = ModelKind.KEYPOINTS, **changes: Any) -> BundleInfo:
    fields = {
        "kind": kind,
        "input": InputSpec(height=HEIGHT, width=WIDTH, resize=ResizeRule.STRETCH),
        "coverage": 0.9,
        "vhs_sigma": 0.2,
        "vhs_half_width": 0.3,
        "training_dataset_digest": "0" * 64,
        "test_dataset_digest": "1" * 64,
        "training_origins": ("phantom",),
        "training_run": "toy",
        "create_time": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return BundleInfo(**{**fields, **changes})


def push(
    repository: ModelRepository,
    model: bytes | None = None,
    name: str = "vhs-keypoints",
    *,
    production: bool = True,
    predictions: Predictions | None = None,
    **changes: Any,
) -> str:
    """Pushes a key-point model, or `model`, and returns its version."""
    model = model or keypoints_model()
    version = repository.push(name, info(**changes), model, "# A toy\n", predictions=predictions)
    if production:
        repository.set_alias(name, Alias.PRODUCTION, version)
    return version


def heavy_keypoints_model(megabytes: int) -> bytes:
    """As `keypoints_model`, with weights that take so much memory and change nothing."""
    model = onnx.load_from_string(keypoints_model())
    weights = np.ones((1, megabytes * 2**18), np.float32)
    nodes = [
        helper.make_node("Reshape", ["nothing", "column"], ["column_of_nothing"]),
        helper.make_node("MatMul", ["column_of_nothing", "weights"], ["much_of_nothing"]),
        helper.make_node("ReduceMean", ["much_of_nothing", "last_axis"], ["heavy_nothing"], keepdims=0),
    ]
    graph = model.graph
    for node in graph.node:
        if node.op_type == "Reshape":
            node.input[0] = "heavy_nothing"
    position = 1 + [node.output[0] for node in graph.node].index("nothing")
    for node in reversed(nodes):
        graph.node.insert(position, node)
    constants = {"weights": weights, "column": np.array([-1, 1], np.int64), "last_axis": np.array([1], np.int64)}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def predicted(points: ArrayLike = NORMAL_HEART, peak: float = 0.9) -> Predictions:
    """What `keypoints_model` says of two pictures."""
    images = np.random.default_rng(0).integers(0, 255, (2, HEIGHT, WIDTH), np.uint8)
    points = np.tile(np.asarray(points, np.float32), (2, 1, 1))
    return Predictions(images, {"key_points": points, "peaks": np.full((2, 6), peak, np.float32)})


def _constant_graph(constant_outputs: dict[str, ArrayLike]) -> bytes:
    """Each output is its constant, once for each image: constant + 0 * mean(image)."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = {"axes": np.array([1, 2], np.int64), "zero": np.array(0, np.float32)}
    results = []
    outputs = {name: np.asarray(value, np.float32) for name, value in constant_outputs.items()}
    for name, value in outputs.items():
        constants[f"{name}_value"] = value[None]
        constants[f"{name}_shape"] = np.array([-1] + [1] * value.ndim, np.int64)
        nodes += [
            helper.make_node("Reshape", ["nothing", f"{name}_shape"], [f"{name}_nothing"]),
            helper.make_node("Add", [f"{name}_nothing", f"{name}_value"], [name]),
        ]
        results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *value.shape]))
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", HEIGHT, WIDTH])],
        results,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
