"""Where a run stood after its last epoch, so that after a crash it goes on as if there had been none."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from canicor.errors import DataLoss, InvalidArgument, ResourceExhausted


@dataclass(frozen=True)
class State:
    """All that changes from epoch to epoch, beside torch's own generator of random numbers."""

    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    generator: Generator
    average: AveragedModel | None


@dataclass(frozen=True)
class Checkpoint:
    """One file, replaced as a whole after each epoch.

    Attributes:
        file: Where it lies; its folder is made where needed.
        run: Names the run: data, seed and recipe. No other takes it up.
    """

    file: Path
    run: str

    def resume(self, state: State) -> int:
        """Sets the state to that after the last epoch, and returns its number; 0 where there is no file.

        Raises:
            DataLoss: The file can't be read.
            InvalidArgument: It is of another run.
        """
        if not self.file.exists():
            return 0
        try:
            saved = torch.load(self.file, map_location="cpu", weights_only=True)
            run, epoch = saved["run"], int(saved["epoch"])
        except (KeyError, TypeError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise DataLoss(
                f"The checkpoint {self.file} can't be read: delete it to begin anew.", reason="BAD_CHECKPOINT"
            ) from error
        if run != self.run:
            raise InvalidArgument(
                f"The checkpoint {self.file} is of another run: delete it to begin anew.", reason="OTHER_RUN"
            )
        state.network.load_state_dict(saved["network"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.schedule.load_state_dict(saved["schedule"])
        if state.average:
            state.average.load_state_dict(saved["average"])
        state.generator.set_state(saved["generator"])
        torch.set_rng_state(saved["torch"])
        return epoch

    def save(self, state: State, epoch: int) -> None:
        """Replaces the file.

        Raises:
            ResourceExhausted: It can't be written.
        """
        content = {
            "run": self.run,
            "epoch": epoch,
            "network": state.network.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "schedule": state.schedule.state_dict(),
            "average": state.average.state_dict() if state.average else None,
            "generator": state.generator.get_state(),
            "torch": torch.get_rng_state(),
        }
        part = self.file.with_suffix(".part")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(content, part)
            part.replace(self.file)
        # Where the disk is full, torch's writer says so by a RuntimeError.
        except (OSError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            raise ResourceExhausted(
                f"The checkpoint {self.file} can't be written: {error}.", reason="NO_SPACE"
            ) from error

    def remove(self) -> None:
        """Removes the file: nobody needs it any more."""
        self.file.unlink(missing_ok=True)
