"""Training on what there is: one CPU, a GPU or several, one process for each, by Hugging Face's Accelerate."""

import os
from enum import StrEnum

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor

from canicor.errors import FailedPrecondition, InvalidArgument


class Precision(StrEnum):
    """What the network computes in; its weights are 32-bit floats in any case.

    `bf16` and `fp16` are 16-bit floats where they do no harm (Micikevicius et al. 2018). `fp16` needs a GPU.
    """

    NO = "no"
    BF16 = "bf16"
    FP16 = "fp16"


def precision_named(name: str) -> Precision:
    """Returns the precision of this name; `auto` is the fastest that does no harm."""
    return _fastest_precision() if name == "auto" else Precision(name)


def _fastest_precision() -> Precision:
    """Returns `bf16` where the GPU or x86 processor computes in it, and `no` where it would be imitated."""
    if torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return Precision.BF16 if able else Precision.NO


def is_main() -> bool:
    """Tells whether this process is the one that writes, or one that only helps it to fit."""
    # Set by `torchrun` and `accelerate launch`.
    return os.environ.get("RANK", "0") == "0"


def take_over_cores() -> None:
    """Gives this process the cores of those that helped it on this machine and have ended."""
    # Set by `torchrun` and `accelerate launch`.
    torch.set_num_threads(torch.get_num_threads() * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def accelerator(precision: Precision) -> Accelerator:
    """Returns what places networks and shares their gradients.

    Raises:
        InvalidArgument: This machine can't compute so.
    """
    # One network after another may be fitted in one process, each in its own precision.
    AcceleratorState._reset_state()
    try:
        ours = Accelerator(mixed_precision=str(precision))
        able = precision is not Precision.FP16 or ours.device.type != "cpu"
    # Accelerate's word for a device that can't.
    except ValueError:
        able = False
    if not able:
        raise InvalidArgument(
            f"This machine can't train in {precision}: leave it out, or use a GPU that can.",
            reason="BAD_PRECISION",
        )
    return ours


def reproducible(*, on_cpu: bool) -> None:
    """Makes the same steps give the same weights on a CPU; a GPU would have to do without its fastest kernels."""
    torch.use_deterministic_algorithms(on_cpu)
    # Nothing here reads memory that it has not written; to fill it all the same takes a twentieth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def share(batch: Tensor, ours: Accelerator) -> Tensor:
    """Returns the part of a batch that this process works on.

    Raises:
        InvalidArgument: There is not one image for each process.
    """
    if len(batch) < ours.num_processes:
        raise InvalidArgument(
            f"A step has {len(batch)} images, fewer than there are processes: {ours.num_processes}.",
            reason="TOO_MANY_PROCESSES",
        )
    part: Tensor = batch.tensor_split(ours.num_processes)[ours.process_index]
    return part


def agree(epochs_done: int, ours: Accelerator) -> None:
    """Checks that all processes go on from the same epoch.

    Raises:
        FailedPrecondition: They do not.
    """
    if ours.num_processes > 1 and len(set(gather_object([epochs_done]))) > 1:
        raise FailedPrecondition(
            "The processes do not see the same checkpoint: give them one CANICOR_HOME.", reason="OTHER_CHECKPOINT"
        )
