"""Types of dogs: which of a dog's numbers go together."""

from collections.abc import Mapping
from enum import StrEnum


class BreedType(StrEnum):
    """How a dog is built."""

    AVERAGE = "average"
    DEEP = "deep"
    BARREL = "barrel"
    TOY = "toy"
    OBESE = "obese"
    PUPPY = "puppy"


SHARES: Mapping[BreedType, float] = {
    BreedType.AVERAGE: 0.42,
    BreedType.DEEP: 0.14,
    BreedType.BARREL: 0.14,
    BreedType.TOY: 0.14,
    BreedType.OBESE: 0.11,
    BreedType.PUPPY: 0.05,
}
"""How often each is drawn."""

SHIFTS: Mapping[BreedType, Mapping[str, float]] = {
    BreedType.AVERAGE: {},
    BreedType.DEEP: {
        "chest_depth": 0.9,
        "chest_width": -0.9,
        "vertebra_cm": 0.8,
        "fat": -0.8,
        "belly_tuck": 1.0,
        "sternum_slope": 0.7,
        "process_length": 0.6,
    },
    BreedType.BARREL: {
        "chest_depth": -0.5,
        "chest_width": 1.1,
        "neck_radius": 0.8,
        "trachea_radius": -0.6,
        "diaphragm_dome": 0.6,
        "mediastinum": 0.7,
        "limb_flesh": 0.6,
    },
    BreedType.TOY: {
        "vertebra_cm": -1.5,
        "limb_radius": -0.7,
        "rib_radius": -0.5,
        "bone_density": -0.4,
        "trachea_radius": -0.3,
    },
    BreedType.OBESE: {
        "fat": 2.0,
        "omental_fat": 1.0,
        "mediastinum": 1.0,
        "mediastinum_height": 0.8,
        "pericardial_fat": 0.8,
        "lung_air": -0.7,
        "belly_tuck": -1.0,
    },
    BreedType.PUPPY: {
        "vertebra_cm": -1.8,
        "bone_density": -1.4,
        "disc": 1.2,
        "cartilage": -1.0,
        "mediastinum": 0.8,
        "calcified": -3.0,
        "process_length": -0.8,
    },
}
"""By how many standard deviations of a normal quantile each type moves a number (by eye; Dyce, Sack and Wensing,
Textbook of Veterinary Anatomy, for which way). None moves the heart: its measured figures are of all types."""
