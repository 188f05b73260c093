"""OpenVINO, the one way in: its telemetry is off.

Its import alone starts a process that reports to its maker, unless the package that does so can't be imported:
then OpenVINO puts a stub in its place. A hospital's server reports to nobody.
"""

import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # what makes an import of it fail


def computes_in(precision: str) -> bool:
    """Returns whether OpenVINO is installed, and the CPU computes in a number format: `f32`, `bf16`."""
    if find_spec("openvino") is None:
        return False
    return precision == "f32" or precision.upper() in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compiled(graph: bytes, name: str, precision: str, threads: int, at_once: int) -> Any:  # noqa: ANN401
    """Returns an ONNX file compiled for the CPU: an `openvino.CompiledModel`.

    Args:
        graph: The file's bytes.
        name: Of its input [N, ...], which is compiled for one at a time: with the shape known, memory and layouts
            are planned once.
        precision: Number format of the arithmetic.
        threads: Cores that one inference may use.
        at_once: Inferences that will run at the same time.
    """
    import openvino
    from openvino import properties
    from openvino.properties import hint

    model = _core().read_model(graph)
    model.reshape({name: [1, *list(model.input(name).partial_shape)[1:]]})
    options = {
        hint.inference_precision: getattr(openvino.Type, precision),
        properties.inference_num_threads: threads * at_once,
        properties.num_streams: at_once,
        # Pinned threads of several models would share one core while others idle.
        hint.enable_cpu_pinning: False,
    }
    return _core().compile_model(model, "CPU", options)


def output(request: Any, name: str) -> NDArray[np.float32]:  # noqa: ANN401
    """Returns an output of an `openvino.InferRequest`, copied out of its memory."""
    return np.array(request.get_tensor(name).data, dtype=np.float32)


@cache
def _core() -> Any:  # noqa: ANN401
    import openvino

    return openvino.Core()
