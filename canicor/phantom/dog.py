"""One dog on one table: all its numbers, and the tissue that each ray crosses."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from canicor.phantom.abdomen import Abdomen
from canicor.phantom.beam import Map
from canicor.phantom.breeds import SHIFTS, BreedType
from canicor.phantom.canvas import Canvas
from canicor.phantom.chest import Chest, ChestWall
from canicor.phantom.devices import Devices
from canicor.phantom.heart import Heart
from canicor.phantom.limbs import Limbs
from canicor.phantom.lungs import Lungs, Thorax
from canicor.phantom.priors import drawn, names_of, normal, sometimes, uniform
from canicor.phantom.spine import Spine
from canicor.phantom.trunk import Trunk

Masks = dict[str, NDArray[np.bool_]]
"""Where on the film a part is, by its name: bool [height, width]."""

Stream = Callable[[str], np.random.Generator]
"""The random numbers for a purpose: each part has its own, so that a change in one leaves the others alone."""


@dataclass(frozen=True)
class Table:
    """How the dog lies below the tube."""

    vertebra_cm: float = normal(1.9, 0.38, 0.9, 2.7)  # centimetres in one v
    source_cm: float = uniform(80.0, 120.0)  # focal spot to the dog's middle plane
    focus_along: float = normal(2.5, 1.5, -2.0, 7.0)  # where the central ray meets it, in v from E
    focus_ventral: float = normal(3.0, 1.5, -1.0, 7.0)
    roll: float = normal(0.0, 6.0, -16.0, 16.0)  # degrees
    slant: float = normal(0.0, 6.0, -16.0, 16.0)
    right_lateral: float = sometimes(0.6, 1.0, 1.0)  # 1 where the right side lies on the table


_PARTS: Mapping[str, type[Any]] = {
    "heart": Heart,
    "spine": Spine,
    "wall": ChestWall,
    "lungs": Lungs,
    "trunk": Trunk,
    "limbs": Limbs,
    "abdomen": Abdomen,
    "devices": Devices,
    "table": Table,
}


@dataclass(frozen=True)
class Tissue:
    """Tissue along each ray, in v.

    Attributes:
        soft: Soft tissue: muscle, blood, organs.
        fat: Fat.
        bone: Whole bone, shell and trabeculae; metal as the bone that attenuates as much.
    """

    soft: Map
    fat: Map
    bone: Map


@dataclass(frozen=True)
class Dog:
    """A dog's parts."""

    breed: BreedType
    heart: Heart
    spine: Spine
    wall: ChestWall
    lungs: Lungs
    trunk: Trunk
    limbs: Limbs
    abdomen: Abdomen
    devices: Devices
    table: Table

    @classmethod
    def draw(cls, stream: Stream, vhs: float, breed: BreedType, fixed: Mapping[str, float]) -> Self:
        """Draws a dog of this type with this VHS; what is fixed is not drawn."""
        parts = {
            name: drawn(part, stream(name), SHIFTS[breed], fixed)
            for name, part in _PARTS.items()
            if part is not Heart
        }
        return cls(breed, Heart.draw(stream("heart"), vhs, fixed), **parts)

    @classmethod
    def parameter_names(cls) -> list[str]:
        """What `fixed` may name."""
        return [name for part in _PARTS.values() for name in names_of(part)]

    @property
    def parameters(self) -> dict[str, float]:
        """All numbers by name."""
        return {name: value for part in _PARTS for name, value in asdict(getattr(self, part)).items()}

    @cached_property
    def thorax(self) -> Thorax:
        """The lungs in the chest around the heart below the spine."""
        return Thorax(self.lungs, Chest(self.wall, self.heart, self.spine))

    def project(self, canvas: Canvas, stream: Stream) -> tuple[Tissue, Masks]:
        """Adds up what each ray crosses.

        Returns:
            The tissue, and where on the film heart, lungs and dog are: bool [height, width] by name.
        """
        tissue, masks = Tissue(canvas.blank(), canvas.blank(), canvas.blank()), Masks()
        for _ in self.build(canvas, stream, tissue, masks):
            pass
        np.maximum(tissue.soft, 0.0, out=tissue.soft)
        return tissue, masks

    def build(self, canvas: Canvas, stream: Stream, tissue: Tissue, masks: Masks) -> Iterator[str]:
        """Adds the parts one after the other, and yields the name of each when it is there."""
        chest = self.thorax.chest
        soft, fat, bone = tissue.soft, tissue.fat, tissue.bone
        self.trunk.add(chest, canvas, soft, fat, stream("trunk texture"))
        yield "trunk, neck and head"
        self.limbs.add(chest, canvas, soft, bone, stream("limbs' places"))
        yield "forelimbs"
        self.abdomen.add(chest, canvas, soft, fat, stream("abdomen's places"))
        masks["dog"] = soft + fat > np.float32(0.05)
        yield "abdomen"
        heart = canvas.thickness(self.heart.solids())
        masks["heart"] = heart > 0.0
        solid = self.thorax.solid(canvas, heart, stream("vessels"))
        air = self.thorax.air(canvas, chest.cavity(canvas), solid, stream("lung texture"))
        masks["lungs"] = air > np.float32(0.1)
        soft -= air
        yield "lungs around heart and vessels"
        soft -= self.thorax.airways(canvas, stream("airways"))
        yield "airways"
        self.spine.add(canvas, bone, stream("vertebrae"))
        yield "spine"
        chest.add_bones(canvas, bone, stream("ribs"))
        yield "ribs and sternum"
        self.devices.add(self.thorax, canvas, soft, bone, stream("devices' places"))
        yield "devices"
