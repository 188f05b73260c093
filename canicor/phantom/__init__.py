"""A procedural lateral thorax of a dog, with its six exact key points.

Rays through closed-form solids, attenuated by Beer-Lambert; nothing is painted. `anatomy` draws a dog in vertebral
units, `projection` adds up the tissue along each ray with the primitives of `canvas`, `detector` exposes the film.
"""

from canicor.phantom.phantom import Phantom, draw

__all__ = ["Phantom", "draw"]
