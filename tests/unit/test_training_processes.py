"""Where and in what numbers a network is fitted."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from canicor.errors import InvalidArgument
from tests.unit.test_training_fitting import bright_corners, silent
from training.fitting import Recipe, class_loss, fit, key_point_loss
from training.network import ClassNetwork, KeyPointNetwork
from training.processes import Precision, accelerator, is_main, precision_named, share
from training.zoo import Backbone


def test_half_precision_learns_and_is_not_the_same() -> None:
    def losses(precision: Precision) -> list[float]:
        told: list[float] = []
        recipe = Recipe(epochs=6, precision=precision)
        network = fit(
            KeyPointNetwork, key_point_loss, bright_corners(32), recipe, 0, lambda _, one: told.append(one)
        )
        assert {one.dtype for one in network.parameters()} == {torch.float32}
        return told

    exact, rounded = losses(Precision.NO), losses(Precision.BF16)
    assert exact != rounded
    # The first step is the same but for rounding.
    assert rounded[0] == pytest.approx(exact[0], rel=0.02)
    assert rounded[-1] < 0.9 * rounded[0]


def test_the_fastest_precision_is_one_that_the_processor_has() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    flags = Path("/proc/cpuinfo").read_text().split()
    assert precision_named("auto") is (Precision.BF16 if "avx512_bf16" in flags else Precision.NO)
    assert precision_named("no") is Precision.NO


def test_what_only_a_gpu_can_is_refused_without_one() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InvalidArgument, match="can't train in fp16"):
        fit(ClassNetwork, class_loss, bright_corners(16), Recipe(epochs=1, precision=Precision.FP16), 0, silent)
    # Nothing of the refusal stays.
    assert accelerator(Precision.NO).mixed_precision == "no"


class Several(Accelerator):
    """As one of three processes."""

    num_processes, process_index = 3, 1


def test_each_process_has_its_part() -> None:
    accelerator(Precision.NO)
    assert share(torch.arange(8), Several()).tolist() == [3, 4, 5]
    with pytest.raises(InvalidArgument, match="2 images, fewer than there are processes: 3"):
        share(torch.arange(2), Several())


def test_a_process_alone_is_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_main()
    monkeypatch.setenv("RANK", "1")
    assert not is_main()


@pytest.mark.parametrize(
    ("network", "loss"),
    [
        (KeyPointNetwork(), key_point_loss),
        (ClassNetwork(), class_loss),
        (Backbone("alexnet").build(64, 64), class_loss),
    ],
)
def test_losses_stay_on_the_networks_device(network: torch.nn.Module, loss) -> None:
    # On the device `meta` nothing is computed, but whatever was left on the CPU is refused, as a GPU would.
    images, points = torch.zeros(2, 64, 64, device="meta"), torch.zeros(2, 6, 2, device="meta")
    classes, seeds = torch.zeros(2, dtype=torch.int64, device="meta"), torch.arange(2)
    found = loss(network.to("meta").train(), images, points, classes, seeds)
    assert found.device.type == "meta"
