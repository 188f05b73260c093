"""Tensors of the Open Inference Protocol v2 to and from numpy.

Raw contents are row by row and little-endian; each element of a BYTES tensor has its length before it, four bytes.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canicor.classifier.v1 import open_inference_pb2 as pb
from canicor.errors import InvalidArgument

BYTES, FP32, UINT8 = "BYTES", "FP32", "UINT8"

_LENGTH = struct.Struct("<I")
_DATATYPES = {np.dtype(np.float32): FP32, np.dtype(np.uint8): UINT8}


def input_tensor(request: pb.ModelInferRequest) -> tuple[str, NDArray[Any]]:
    """Returns the name and the values of a request's one input: uint8, or objects that are bytes.

    Raises:
        InvalidArgument: There is not one input, its type is none of these, or its contents do not fit its shape.
    """
    if len(request.inputs) != 1 or len(request.raw_input_contents) > 1:
        raise bad_tensor("A request takes one input, `image` or `images`.", "inputs")
    (tensor,) = request.inputs
    if tensor.datatype not in (BYTES, UINT8):
        raise bad_tensor(f"The input's datatype must be BYTES or UINT8, not {tensor.datatype[:20]!r}.", "inputs")
    if any(side < 0 for side in tensor.shape):
        raise bad_tensor("A shape holds no negative number.", "inputs")
    raw = request.raw_input_contents[0] if request.raw_input_contents else None
    values = _bytes_values(tensor, raw) if tensor.datatype == BYTES else _uint8_values(tensor, raw)
    if values.size != prod(tensor.shape):
        raise bad_tensor(f"The input holds {values.size} values, its shape {list(tensor.shape)} others.", "inputs")
    return tensor.name, values.reshape(tuple(tensor.shape))


def add_outputs(
    response: pb.ModelInferResponse, values: Mapping[str, NDArray[Any]], wanted: Iterable[str]
) -> None:
    """Writes outputs into a response.

    Args:
        response: Takes them.
        values: By name: float32, uint8, or objects that are bytes.
        wanted: The names to write, in their order; none for all.

    Raises:
        InvalidArgument: A wanted one is not among them.
    """
    for name in list(wanted) or list(values):
        if name not in values:
            raise bad_tensor(f"There is no output {name[:40]!r}: {', '.join(values)} are.", "outputs")
        value = values[name]
        response.outputs.add(name=name, datatype=_DATATYPES.get(value.dtype, BYTES), shape=value.shape)
        response.raw_output_contents.append(_raw(value))


def bad_tensor(message: str, field: str) -> InvalidArgument:
    """Returns the error of a tensor that is not what it must be."""
    return InvalidArgument(message, reason="TENSOR", field=field)


def _bytes_values(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> NDArray[Any]:
    elements = list(tensor.contents.bytes_contents) if raw is None else list(_split(raw))
    values = np.empty(len(elements), dtype=object)
    values[:] = elements
    return values


def _uint8_values(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> NDArray[np.uint8]:
    if raw is not None:
        return np.frombuffer(raw, dtype=np.uint8)
    values = np.array(tensor.contents.uint_contents, dtype=np.uint32)
    if (values > np.iinfo(np.uint8).max).any():
        raise bad_tensor("UINT8 values are 0 to 255.", "inputs")
    return values.astype(np.uint8)


def _split(raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        length = _LENGTH.unpack_from(raw, position)[0] if start <= len(raw) else len(raw)
        position = start + length
        if position > len(raw):
            raise bad_tensor("A BYTES element is shorter than the four-byte length before it says.", "inputs")
        yield raw[start:position]


def _raw(value: NDArray[Any]) -> bytes:
    if value.dtype != object:
        return value.astype(value.dtype.newbyteorder("<")).tobytes()
    return b"".join(_LENGTH.pack(len(element)) + element for element in value.ravel())
