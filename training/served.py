"""The networks as they are served: one graph each that gives every output of `canicor.bundle`."""

from torch import Tensor, nn

from canicor.bundle import OPTIONAL_OUTPUTS, OUTPUTS
from training.distance import FeatureDistance
from training.network import ClassNetwork, KeyPointNetwork, heat_maps

NAMES = {kind: (*outputs, *OPTIONAL_OUTPUTS) for kind, outputs in OUTPUTS.items()}
"""The outputs of each kind, in the order in which `forward` returns them."""


class ServedKeyPoints(nn.Module):
    """Key points; the heat map is the highest of the six at each place."""

    def __init__(self, network: KeyPointNetwork, distance: FeatureDistance) -> None:
        super().__init__()
        self.network = network
        self.distance = distance

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Takes [N, height, width] and returns `NAMES[ModelKind.KEYPOINTS]`."""
        maps = self.network.encoder(images)
        reading = self.network.read(maps)
        heat = heat_maps(reading.logits)
        return reading.key_points(), heat.amax((-1, -2)), self.distance(maps), heat.amax(1)


class ServedClasses(nn.Module):
    """Class probabilities; the heat map is the activation map of the most probable class.

    Args:
        network: Gives logits.
        temperature: Divides them.
        distance: Of its encoder's features.
    """

    def __init__(self, network: ClassNetwork, temperature: float, distance: FeatureDistance) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.distance = distance

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes [N, height, width] and returns `NAMES[ModelKind.CLASSIFIER]`."""
        maps = self.network.encoder(images)
        logits = self.network.classes(maps)
        probabilities = (logits / self.temperature).softmax(-1)
        activation = self.network.activation(maps, logits.argmax(1)).relu()
        highest = activation.amax((-1, -2), keepdim=True)
        return probabilities, self.distance(maps), activation / highest.clamp(min=1e-6)
