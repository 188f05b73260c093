"""Ways to train a class model, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from canicor.bundle import InputSpec
from canicor.errors import InvalidArgument
from training.fitting import Augmentation, Recipe, Schedule
from training.run import input_spec
from training.zoo import STUDY_DROPOUT, STUDY_HIDDEN_LAYERS, Backbone

_OF_RECIPE = ("epochs", "learning_rate", "batch_size", "augmentation_strength")


@dataclass(frozen=True)
class Preset:
    """What a class model is and how it is fitted.

    Attributes:
        recipe: Of the fitting.
        model: A backbone of the zoo; the project's own small one where empty.
        dropout: Before the head.
        hidden_layers, pretrained, frozen: Of the backbone, see `training.zoo.Backbone`.
        size: Width of the input in pixels.
        stretch: Whether radiographs are stretched to a square instead of padded.
    """

    recipe: Recipe
    model: str = ""
    hidden_layers: int = 0
    dropout: float = 0.2
    pretrained: bool = False
    frozen: bool = False
    size: int = 192
    stretch: bool = False

    @property
    def spec(self) -> InputSpec:
        """The model's input."""
        return input_spec(self.size, square=self.stretch)

    @property
    def backbone(self) -> Backbone | None:
        """The zoo's; None for the project's own.

        Raises:
            InvalidArgument: As `Backbone`; without a model, it has none of what is a backbone's.
        """
        if not (self.model or self.hidden_layers or self.pretrained or self.frozen):
            return None
        return Backbone(self.model, self.hidden_layers, self.dropout, self.pretrained, self.frozen)

    def changed(self, **options: str | float | None) -> Self:
        """Returns the same with other attributes, or those of `Recipe.tuned`; None leaves one as it is."""
        given: dict[str, Any] = {name: one for name, one in options.items() if one is not None}
        of_recipe = {name: given.pop(name) for name in _OF_RECIPE if name in given}
        return replace(self, recipe=self.recipe.tuned(**of_recipe), **given)


PRESETS: Mapping[str, Preset] = {
    # About two minutes for 900 images on two cores.
    "standard": Preset(Recipe(epochs=30)),
    # As short as can be: it proves that the parts fit together. Inception's smallest input is 75 pixels.
    "smoke": Preset(Recipe(epochs=1, learning_rate=1e-3), size=96, stretch=True),
    # The study's, by its notebook; AdamW's betas and epsilon there are PyTorch's own.
    "notebook": Preset(
        Recipe(
            epochs=6,
            learning_rate=1e-3,
            batch_size=16,
            weight_decay=0.01,
            schedule=Schedule.PLATEAU,
            augmentation=Augmentation.RAND_AUGMENT,
        ),
        model="tf_efficientnet_b7",
        hidden_layers=STUDY_HIDDEN_LAYERS,
        dropout=STUDY_DROPOUT,
        pretrained=True,
        frozen=True,
        size=600,
        stretch=True,
    ),
    # No mixup: the mean of two hearts has no size.
    "modern": Preset(
        Recipe(epochs=60, learning_rate=1e-3, weight_decay=0.05, schedule=Schedule.COSINE, averaging=0.999),
        size=320,
    ),
}


def preset(name: str) -> Preset:
    """Returns the preset of this name.

    Raises:
        InvalidArgument: There is none.
    """
    if name not in PRESETS:
        raise InvalidArgument(f"There is no preset {name!r}: give {', '.join(PRESETS)}.", reason="UNKNOWN_PRESET")
    return PRESETS[name]
