"""A procedural lateral thorax of a dog, with its six exact key points.

Rays through closed-form solids, attenuated by Beer-Lambert; only markers are painted. `dog` composes the parts of
a body in vertebral units (`heart`, `spine`, `chest`, `lungs`, `trunk`, `limbs`, `abdomen`, `devices`), each of
which adds its `solids` to the film, `canvas`: `chords` says how long the rays of `beam` run in them. `exposure`
records what is left of the beam, and `presentation` shows it as a vendor would. `wishes` holds what may be asked
for.
"""

from canicor.phantom.breeds import BreedType
from canicor.phantom.phantom import Phantom, draw, plain_film
from canicor.phantom.wishes import LateralView

__all__ = ["BreedType", "LateralView", "Phantom", "draw", "plain_film"]
