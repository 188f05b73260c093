"""What can run a graph on this machine: ONNX Runtime's providers and OpenVINO, each in its number formats."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import FP16_FILE, INPUT, INT8_FILE, MODEL_FILE
from canicor.onnx_runtime import CPU, CUDA, TENSORRT, InferenceSession, installed_providers, open_session
from services.classifier import openvino_runtime

Outputs = dict[str, NDArray[np.float32]]
"""A graph's outputs by name, [N, ...]."""


class Runner(Protocol):
    """A loaded graph. Any number of threads may run it at once."""

    @property
    def names(self) -> Sequence[str]:
        """The graph's outputs."""

    def run(self, images: NDArray[np.uint8], names: Sequence[str]) -> Outputs:
        """Runs uint8 [N, height, width] and returns the outputs named."""


@dataclass(frozen=True)
class Engine(ABC):
    """A way to run a graph.

    Attributes:
        name: As settings, logs and metrics call it.
        file: The file of a bundle that it runs.
        on_gpu: Whether it runs on one.
        exact: Whether it computes in 32-bit floats, as the model was made.
    """

    name: str
    file: str
    on_gpu: bool
    exact: bool

    @abstractmethod
    def available(self) -> bool:
        """Returns whether this machine has what it needs."""

    @abstractmethod
    def open(self, graph: bytes, threads: int, at_once: int) -> Runner:
        """Loads a graph.

        Args:
            graph: The content of `file`.
            threads: Cores that one inference may use (CPU).
            at_once: Inferences that will run at the same time.

        Raises:
            Exception: It can't; runtimes have errors of their own.
        """


@dataclass(frozen=True)
class OnnxRuntime(Engine):
    """ONNX Runtime with one execution provider.

    Attributes:
        provider: Its name.
        options: Of the provider.
    """

    provider: str = CPU
    options: Mapping[str, str] | None = None

    def available(self) -> bool:
        """Returns whether this build of ONNX Runtime brings the provider."""
        return self.provider in installed_providers()

    def open(self, graph: bytes, threads: int, at_once: int) -> Runner:
        """Loads a graph; see `Engine.open`. A provider that can't be used here raises: none takes its place."""
        session = open_session(graph, self.provider, threads, provider_options=dict(self.options or {}))
        if session.get_providers()[0] != self.provider:
            raise RuntimeError(f"{self.provider} does not start on this machine")
        return _BoundSession(session) if self.on_gpu else _Session(session)


@dataclass(frozen=True)
class OpenVino(Engine):
    """OpenVINO on the CPU.

    Attributes:
        precision: Its name for the number format of the arithmetic.
    """

    precision: str = "f32"

    def available(self) -> bool:
        """Returns whether OpenVINO is installed, and the CPU computes in this number format."""
        return openvino_runtime.computes_in(self.precision)

    def open(self, graph: bytes, threads: int, at_once: int) -> Runner:
        """Loads a graph; see `Engine.open`."""
        return _CompiledModel(graph, self.precision, threads, at_once)


ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        # TensorRT chooses 16 bits layer by layer, from the graph in 32.
        OnnxRuntime(
            "tensorrt-fp16", MODEL_FILE, True, False, provider=TENSORRT, options={"trt_fp16_enable": "True"}
        ),
        OnnxRuntime("cuda-fp16", FP16_FILE, True, False, provider=CUDA),
        OnnxRuntime("cuda-fp32", MODEL_FILE, True, True, provider=CUDA),
        OpenVino("openvino-bf16", MODEL_FILE, False, False, precision="bf16"),
        OpenVino("openvino-int8", INT8_FILE, False, False),
        OpenVino("openvino-fp32", MODEL_FILE, False, True),
        OnnxRuntime("onnxruntime-int8", INT8_FILE, False, False),
        OnnxRuntime("onnxruntime-fp32", MODEL_FILE, False, True),
    )
}
"""By name. Those on a GPU come first: where one of them works, none on the CPU is tried."""


class _Session:
    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self.names = [output.name for output in session.get_outputs()]

    def run(self, images: NDArray[np.uint8], names: Sequence[str]) -> Outputs:
        return dict(zip(names, self._session.run(names, {INPUT: images}), strict=True))


class _BoundSession:
    """Binds input and outputs, so that the provider copies each once and the runtime allocates nothing between."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self.names = [output.name for output in session.get_outputs()]

    def run(self, images: NDArray[np.uint8], names: Sequence[str]) -> Outputs:
        binding = self._session.io_binding()
        binding.bind_cpu_input(INPUT, np.ascontiguousarray(images))
        for name in names:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))


class _CompiledModel:
    """Takes one image at a time."""

    def __init__(self, graph: bytes, precision: str, threads: int, at_once: int) -> None:
        self._compiled = openvino_runtime.compiled(graph, INPUT, precision, threads, at_once)
        self._of_thread = threading.local()
        self.names = [output.get_any_name() for output in self._compiled.outputs]

    def run(self, images: NDArray[np.uint8], names: Sequence[str]) -> Outputs:
        results = [self._run_one(image[None], names) for image in images]
        return {name: np.concatenate([one[name] for one in results]) for name in names}

    def _run_one(self, image: NDArray[np.uint8], names: Sequence[str]) -> Outputs:
        # A request may be used by one thread at a time.
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        request = self._of_thread.request
        request.infer({INPUT: image}, share_inputs=True)
        return {name: openvino_runtime.output(request, name) for name in names}
