"""Each network of the zoo learns, exports and answers as it did."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from canicor.errors import InvalidArgument
from training import export
from training.dataset import Images
from training.distance import FeatureDistance
from training.fitting import Recipe, class_loss, fit, key_point_loss
from training.served import ServedClasses, ServedKeyPoints
from training.zoo import (
    BACKBONES,
    CURRENT,
    PACKAGED,
    STUDY_DROPOUT,
    STUDY_HIDDEN_LAYERS,
    TABLE_3,
    Backbone,
    adaptive_mean,
    taught_lite0,
)

# Inception's smallest input is 75 pixels.
SIDE = 96
LINEAR_ON_MEAN = {
    *(
        "tf_efficientnet_b7",
        "inception_resnet_v2",
        "resnet50",
        "resnet101",
        "resnet152",
        "densenet121",
        "googlenet",
    ),
    *("mobilenetv1_100", "mobilenetv2_100", "squeezenet1_0", "legacy_xception"),
    *("tf_efficientnet_lite0", "tf_efficientnetv2_s"),
}

IMAGES = Images(
    rows=(),
    pixels=np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE), dtype=np.uint8),
    placements=(),
    points=np.full((4, 6, 2), np.nan, dtype=np.float32),
    classes=np.arange(4) % 3,
    features=np.zeros((4, 6)),
)


PLACED = replace(IMAGES, points=np.random.default_rng(1).uniform(20, 76, (4, 6, 2)).astype(np.float32))


def trained(backbone: Backbone) -> ServedClasses:
    def build() -> torch.nn.Module:
        return backbone.build(SIDE, SIDE)

    network = fit(
        build, class_loss, IMAGES, Recipe(epochs=1, batch_size=4, learning_rate=1e-4), 0, lambda *told: None
    )
    with torch.inference_mode():
        (features,) = network.encoder(torch.from_numpy(IMAGES.pixels))
    width = features.shape[1 if features.ndim == 4 else 2]
    # One fitted to four pictures of noise, which look alike to the network, would show rounding and nothing else.
    distance = FeatureDistance(np.zeros(width), np.eye(width))
    return ServedClasses(network, 1.5, distance).eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_a_heat_map_is_there_where_one_linear_layer_follows_the_mean(name: str) -> None:
    assert Backbone(name).build(SIDE, SIDE).has_activation == (name in LINEAR_ON_MEAN)


# Those of Table 3 do so in `tests/integration/test_experiments.py`.
@pytest.mark.parametrize("name", CURRENT)
def test_a_backbone_learns_a_step_and_answers_in_onnx_runtime_as_in_torch(name: str) -> None:
    served = trained(Backbone(name))
    model = export.to_onnx(served, served.outputs, SIDE, SIDE)
    assert export.check_parity(model, served, IMAGES) <= export.TOLERANCE


@pytest.mark.parametrize(("before", "after"), [((3, 3), (7, 7)), ((12, 9), (6, 6)), ((7, 7), (7, 7))])
def test_the_adaptive_mean_is_torchs(before: tuple[int, int], after: tuple[int, int]) -> None:
    features = torch.rand(2, 5, *before, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        adaptive_mean(features, *after), torch.nn.functional.adaptive_avg_pool2d(features, after)
    )


def test_the_studys_head_stands_on_any_backbone() -> None:
    served = trained(Backbone("resnet50", STUDY_HIDDEN_LAYERS, STUDY_DROPOUT))
    linear = [layer for layer in served.network.head if isinstance(layer, torch.nn.Linear)]
    assert [(one.in_features, one.out_features) for one in linear] == [(2048, 2048)] * 7 + [(2048, 3)]
    assert "heat_map" not in served.outputs
    model = export.to_onnx(served, served.outputs, SIDE, SIDE)
    assert export.check_parity(model, served, IMAGES) <= export.TOLERANCE


def test_what_is_built_is_ready_to_learn() -> None:
    """Batch normalisation that stays in inference mode would never see what the images are like."""
    network = Backbone("resnet50").build(64, 64)
    assert all(part.training for part in network.modules())
    before = network.encoder.backbone.bn1.running_mean.clone()
    network(torch.from_numpy(IMAGES.pixels))
    assert not torch.equal(network.encoder.backbone.bn1.running_mean, before)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet50", "mobilenetv3_large_100", "convnext_tiny"])
def test_key_points_are_read_from_a_backbones_maps(name: str) -> None:
    network = fit(
        Backbone(name).build_key_points,
        key_point_loss,
        PLACED,
        Recipe(epochs=1, batch_size=4),
        0,
        lambda *told: None,
    )
    width = sum(one.shape[1] for one in network.maps(torch.zeros(1, SIDE, SIDE)))
    served = ServedKeyPoints(network, FeatureDistance(np.zeros(width), np.eye(width))).eval()
    model = export.to_onnx(served, served.outputs, SIDE, SIDE)
    assert export.check_parity(model, served, PLACED) <= export.TOLERANCE


@pytest.mark.parametrize("name", ["vit_small_patch16_224", "alexnet"])
def test_a_backbone_without_maps_reads_no_key_points(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"can't be read from {name}"):
        Backbone(name).build_key_points()


def test_imagenets_weights_come_with_the_small_backbone() -> None:
    """Of colours alike in all channels, the grey network says what the packaged one says."""
    packaged = taught_lite0().eval()
    grey = Backbone(PACKAGED, pretrained=True).build(SIDE, SIDE).encoder.eval()
    colours = (torch.from_numpy(IMAGES.pixels).float() / 127.5 - 1).unsqueeze(1).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        (found,) = grey(torch.from_numpy(IMAGES.pixels))
        assert torch.allclose(found, packaged.forward_features(colours), atol=1e-3)
    maps = Backbone(PACKAGED, pretrained=True).build_key_points().heart.encoder
    assert torch.equal(maps.backbone.blocks[0][0].conv_dw.weight, packaged.blocks[0][0].conv_dw.weight)


def test_table_3_has_its_rows() -> None:
    # The sixteenth is EfficientNetB7 with the study's head.
    assert len(set(TABLE_3.values())) == 15


def test_an_unknown_backbone_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="resnet50"):
        Backbone("resnet5000")
