"""What a server does, without the server: raw's contestant, and the work that every peer is given."""

import os
from collections.abc import Callable

# As in `canicor.onnx_runtime`; raw shares nothing with the server but the way a radiograph is decoded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from canicor.model_input import ResizeRule, read

RESIZE = ResizeRule.LETTERBOX


def raw(model: bytes | str, intra_op: int, *, spinning: bool = False) -> Callable[[bytes], list[float]]:
    """Returns what makes the bytes of a file its three probabilities; any number of threads may call it.

    Args:
        model: The ONNX file: its bytes, or its path.
        intra_op: Threads of one inference.
        spinning: Whether those threads wait for work by spinning, ONNX Runtime's default.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    _, height, width = images.shape

    def infer(file: bytes) -> list[float]:
        pixels = read(file, height, width, RESIZE).pixels
        (probabilities,) = session.run(["probabilities"], {images.name: pixels[None]})
        return [float(value) for value in probabilities[0]]

    return infer
