"""How a machine computes images: what is chosen, and what is taken where that can't be had."""

import pytest
import torch

from canicor.errors import FailedPrecondition
from canicor.pipeline import Computing
from canicor.text_to_image import Asked, Sampling, TextToImage, dtype_of
from tests import pipelines as tiny


@pytest.mark.parametrize(
    ("precision", "on_gpu", "expected"),
    [
        ("auto", True, torch.float16),
        ("auto", False, torch.float32),
        ("fp16", True, torch.float16),
        ("bf16", True, torch.bfloat16),
        ("bf16", False, torch.bfloat16),
        ("fp32", True, torch.float32),
    ],
)
def test_a_precision_is_chosen_by_the_device(precision, on_gpu, expected):
    assert dtype_of(precision, on_gpu=on_gpu) == expected


def test_a_cpu_takes_32_bits_for_16_and_says_so():
    with pytest.warns(RuntimeWarning, match="fp32 is taken"):
        assert dtype_of("fp16", on_gpu=False) == torch.float32


def test_a_pipeline_computes_as_it_is_told(tmp_path):
    tiny.stable_diffusion().save_pretrained(tmp_path)
    usual = TextToImage.load(tmp_path)
    told = TextToImage.load(tmp_path, computing=Computing("bf16", 4, compiled=True))
    assert (usual.batch_size, usual.pipeline.unet.dtype) == (1, torch.float32)
    assert (told.batch_size, told.pipeline.unet.dtype) == (4, torch.bfloat16)
    asked = [Asked((("heart", 1.0),), "", 7, index) for index in range(2)]
    one, other = told.make(asked, Sampling(64, 64, 2, 1.0))
    assert one.tobytes() != other.tobytes()


def test_a_pipeline_of_pickles_is_refused(tmp_path):
    tiny.stable_diffusion().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(FailedPrecondition) as refusal:
        TextToImage.load(tmp_path)
    assert refusal.value.reason == "BAD_PIPELINE"
