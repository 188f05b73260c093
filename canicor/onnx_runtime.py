"""ONNX Runtime, the one way in: its telemetry is off.

Since 1.29 its Linux builds report each session, with hashes of the model, to their maker unless this variable is
set before the import. A hospital's server reports to nobody.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from onnxruntime import InferenceSession, SessionOptions, get_available_providers

__all__ = ["CPU", "InferenceSession", "available_providers", "open_session"]

CPU = "CPUExecutionProvider"
"""The provider that every installation has."""


def available_providers(preferred: tuple[str, ...]) -> list[str]:
    """Returns the preferred execution providers that are installed; the CPU's where none is."""
    installed = get_available_providers()
    return [provider for provider in preferred if provider in installed] or [CPU]


def open_session(model: bytes, preferred: tuple[str, ...] = (CPU,), threads: int = 0) -> InferenceSession:
    """Loads an ONNX file.

    Args:
        model: The file's bytes.
        preferred: Execution providers by preference; those not installed are passed over.
        threads: Cores that one inference may use; 0 for all.

    Raises:
        Exception: ONNX Runtime can't load it; its errors have no base class of their own.
    """
    options = SessionOptions()
    options.intra_op_num_threads = threads
    # Spinning threads steal the cores from each other under load and under CPU limits.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return InferenceSession(model, options, providers=available_providers(preferred))
