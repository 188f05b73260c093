"""`canicor demo`: the whole loop on this machine, on phantoms, through the services' own APIs."""

from canicor.demo.loop import HELD_OUT_IMAGES, TRAINING_IMAGES, Plan, run

__all__ = ["HELD_OUT_IMAGES", "TRAINING_IMAGES", "Plan", "run"]
