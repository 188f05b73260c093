"""ONNX Runtime, the one way in: its telemetry is off.

Since 1.29 its Linux builds report each session, with hashes of the model, to their maker unless this variable is
set before the import. A hospital's server reports to nobody.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from onnxruntime import InferenceSession, SessionOptions, get_available_providers, preload_dlls

__all__ = ["CPU", "CUDA", "TENSORRT", "InferenceSession", "installed_providers", "open_session"]

CPU = "CPUExecutionProvider"
"""The provider that every installation has."""

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

# CUDA and cuDNN out of NVIDIA's packages on PyPI, where the build is one that needs them.
if CUDA in get_available_providers():
    preload_dlls()


def installed_providers() -> frozenset[str]:
    """Returns the execution providers that this build of ONNX Runtime brings."""
    return frozenset(get_available_providers())


def open_session(
    model: bytes, provider: str = CPU, threads: int = 0, *, provider_options: dict[str, str] | None = None
) -> InferenceSession:
    """Loads an ONNX file.

    Args:
        model: The file's bytes.
        provider: The execution provider that runs it; what it can't run goes to the CPU's.
        threads: Cores that one inference may use; 0 for all.
        provider_options: As ONNX Runtime documents them for the provider.

    Raises:
        Exception: ONNX Runtime can't load it; its errors have no base class of their own.
    """
    options = SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin make a lone inference faster, and one beside any other load slower by far.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [(provider, provider_options or {}), *([] if provider == CPU else [(CPU, {})])]
    return InferenceSession(model, options, providers=providers)
