"""The networks as they are served: one graph each that gives every output of `canicor.bundle`."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from canicor.bundle import DISTANCE, FEATURES, HEAT_MAP, OUTPUTS, ModelKind
from training.distance import FeatureDistance
from training.network import ClassNetwork, KeyPointNetwork, mirrored

if TYPE_CHECKING:
    from training.zoo import ZooNetwork


class Served(nn.Module):
    """A graph.

    Attributes:
        kind: Of model.
        outputs: Their names, in the order in which `forward` returns them.
    """

    kind: ModelKind

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those of the kind, distance, features and heat map."""
        return (*OUTPUTS[self.kind], DISTANCE, FEATURES, HEAT_MAP)


class ServedKeyPoints(Served):
    """The mean of what the network says of a radiograph and of its mirror image.

    The heat map is the highest of the six at each place. Where the two say different things, no peak is high.
    """

    kind = ModelKind.KEYPOINTS

    def __init__(self, network: KeyPointNetwork, distance: FeatureDistance) -> None:
        super().__init__()
        self.network = network
        self.distance = distance

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Takes [N, height, width] and returns `outputs`."""
        both = torch.cat((images, images.flip(-1)))
        maps = self.network.maps(both)
        sight = self.network.look(both, maps)
        points, turned = _halves(sight.key_points)
        heat, mirrored_heat = _halves(sight.heat)
        heat = 0.5 * (heat + mirrored_heat.flip(-1))
        distance, features = (_halves(one).mean(0) for one in self.distance(maps))
        return (
            0.5 * (points + mirrored(turned, images.shape[-1])),
            heat.amax((-1, -2)),
            distance,
            features,
            heat.amax(1),
        )


def _halves(outputs: Tensor) -> Tensor:
    """Returns [2N, ...] as [2, N, ...]."""
    return outputs.reshape(2, -1, *outputs.shape[1:])


class ServedClasses(Served):
    """Class probabilities; the heat map is the activation map of the most probable class, where there is one.

    Args:
        network: Gives logits.
        temperature: Divides them.
        distance: Of its encoder's features.
    """

    kind = ModelKind.CLASSIFIER

    def __init__(
        self, network: "ClassNetwork | ZooNetwork", temperature: float, distance: FeatureDistance
    ) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.distance = distance

    @property
    def outputs(self) -> tuple[str, ...]:
        """As `Served`; without a heat map where the network has no activation map."""
        return super().outputs if self.network.has_activation else super().outputs[:-1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Takes [N, height, width] and returns `outputs`."""
        maps = self.network.encoder(images)
        logits = self.network.classes(maps)
        probabilities = (logits / self.temperature).softmax(-1)
        if not self.network.has_activation:
            return probabilities, *self.distance(maps)
        activation = self.network.activation(maps, logits.argmax(1)).relu()
        highest = activation.amax((-1, -2), keepdim=True)
        return probabilities, *self.distance(maps), activation / highest.clamp(min=1e-6)
