"""Every impostor can be drawn, is the same each time, and is a picture that the classifier would take."""

import numpy as np
import pytest

from canicor.bundle import InputSpec
from canicor.model_input import ResizeRule
from canicor.radiograph import decode
from tests.png import png
from training.impostors import KINDS, Impostors, draw


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_and_an_index_name_a_picture(kind: str) -> None:
    picture = draw(kind, 1, 0)
    assert picture.dtype == np.uint8
    draw.cache_clear()
    assert np.array_equal(picture, draw(kind, 1, 0))
    assert any(not np.array_equal(picture, draw(kind, 1, index)) for index in range(1, 4))
    assert not np.array_equal(picture, draw(kind, 2, 0))
    radiograph = decode(png(picture))
    assert (radiograph.height, radiograph.width) == picture.shape


def test_they_come_at_the_models_size() -> None:
    drawn = []
    spec = InputSpec(height=64, width=96, resize=ResizeRule.LETTERBOX)
    impostors = Impostors.draw(2, 0, spec, lambda: drawn.append(None))
    assert impostors.pixels.shape == (2 * len(KINDS), 64, 96)
    assert len(drawn) == len(impostors.kinds) == 2 * len(KINDS)
    assert {impostors.kinds.count(kind) for kind in KINDS} == {2}
