"""Tissue thickness -> the picture a digital detector and its vendor's processing make of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from canicor.phantom.canvas import Map
from canicor.phantom.priors import draw_fields, normal, sometimes, uniform
from canicor.phantom.projection import Thickness

SOFT_PER_CM = 0.205
"""Linear attenuation of soft tissue at 60 keV in 1/cm: 0.2048 cm2/g x 1.00 g/cm3 (NIST XCOM, ICRU-44 tissue)."""

BONE_PER_CM = 0.48
"""Of whole bone, shell and trabeculae: 0.3148 cm2/g (NIST XCOM, ICRU-44 cortical bone, 60 keV) x 1.5 g/cm3."""


@dataclass(frozen=True)
class Exposure:
    """How one film was taken and shown. Shares are of 1, lengths shares of the image's shorter side."""

    hardness: float = normal(1.0, 0.1, 0.8, 1.25)  # attenuation at this tube voltage against 60 keV
    bone_contrast: float = uniform(0.85, 1.2)  # falls as the voltage rises
    quanta: float = uniform(6000.0, 60000.0)  # per pixel in air
    readout: float = uniform(1.0, 6.0)  # electronic noise, in quanta
    blur: float = uniform(0.0006, 0.0022)  # standard deviation of the spread function
    scatter: float = uniform(0.01, 0.06)  # of the intensity in air
    heel: float = uniform(-0.18, 0.18)  # gradient of the intensity along the rows
    tilt: float = uniform(-0.1, 0.1)  # and along the columns
    gamma: float = uniform(0.85, 1.5)
    darkest: float = uniform(0.0, 0.12)  # grey value of the lung's darkest parts
    local_contrast: float = uniform(0.2, 0.6)
    sharpening: float = uniform(0.1, 1.2)
    collimation: float = sometimes(0.5, 0.01, 0.06)  # width of the black border
    collimator_turn: float = uniform(-3.0, 3.0)  # in degrees
    marker: float = sometimes(0.45, 0.045, 0.075)  # height of the letter L or R
    marker_across: float = uniform(0.12, 0.85)


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Draws the conditions of one film."""
    return Exposure(**draw_fields(Exposure, rng))


def expose(thickness: Thickness, cm: float, exposure: Exposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Takes the radiograph.

    Args:
        thickness: Tissue along each ray, in v.
        cm: Centimetres in one v.
        exposure: The conditions.
        rng: Gives the noise and the marker's letter.

    Returns:
        uint8 [height, width], dense tissue bright.
    """
    shape = thickness.soft.shape
    short_side = min(shape)
    # Beer-Lambert: what is left of the beam falls with the exponential of attenuation along the ray.
    depth = np.float32(SOFT_PER_CM * cm * exposure.hardness) * thickness.soft
    depth += np.float32(BONE_PER_CM * cm * exposure.hardness * exposure.bone_contrast) * thickness.bone
    across = np.linspace(-1.0, 1.0, shape[1], dtype=np.float32)[None, :]
    down = np.linspace(-1.0, 1.0, shape[0], dtype=np.float32)[:, None]
    intensity = np.exp(-depth)
    intensity *= 1.0 + np.float32(exposure.heel) * across + np.float32(exposure.tilt) * down
    intensity = _blur(intensity + np.float32(exposure.scatter), exposure.blur * short_side)
    intensity *= np.float32(exposure.quanta)
    # Poisson counts this large are normal with variance equal to the mean; the read-out's variance adds.
    noise = rng.standard_normal(shape, dtype=np.float32)
    intensity += np.sqrt(intensity + np.float32(exposure.readout**2)) * noise
    density = -np.log(np.maximum(intensity, 1.0) / np.float32(exposure.quanta))
    pixels = _present(density, depth > np.float32(0.25), exposure)
    _collimate(pixels, exposure)
    return _mark(pixels.astype(np.uint8), exposure, rng)


def _blur(image: Map, sigma: float) -> Map:
    """A Gaussian, by its samples at whole pixels."""
    reach = max(1, round(3.0 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if axis == i else (0, 0) for i in (0, 1)], mode="edge")
        length = image.shape[axis]
        parts = (padded[i : i + length] if axis == 0 else padded[:, i : i + length] for i in range(2 * reach + 1))
        image = np.zeros_like(image)
        for share, part in zip(kernel, parts, strict=True):
            image += np.float32(share) * part
    return image


def _smooth(image: Map, cell: int) -> Map:
    """A low-pass at about `cell` pixels, through a small copy."""
    size = (max(1, image.shape[1] // cell), max(1, image.shape[0] // cell))
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((image.shape[1], image.shape[0]), Image.Resampling.BICUBIC))


def _present(density: Map, body: NDArray[np.bool_], exposure: Exposure) -> Map:
    """The vendor's curve: flattens slow changes, lifts edges, then spreads the body's densities over the greys."""
    short_side = min(density.shape)
    detail = density - np.float32(exposure.local_contrast) * _smooth(density, max(1, short_side // 5))
    detail += np.float32(exposure.sharpening) * (density - _smooth(density, max(1, short_side // 60)))
    sample = detail[::4, ::4][body[::4, ::4]]
    low, high = np.percentile(sample, (1.0, 99.7)) if sample.size else (0.0, 1.0)
    grey = np.clip((detail - np.float32(low)) * np.float32(1.0 / max(high - low, 1e-3)), 0.0, 1.0)
    lifted = np.float32(exposure.darkest) * np.clip(density * np.float32(2.0), 0.0, 1.0)
    shown: Map = lifted + (1.0 - lifted) * grey ** np.float32(exposure.gamma)
    return shown * np.float32(255.0)


def _collimate(pixels: Map, exposure: Exposure) -> None:
    """Blackens what lies outside the collimator's turned rectangle, with a soft edge."""
    if not exposure.collimation:
        return
    height, width = pixels.shape
    border, turn = exposure.collimation * min(height, width), np.tan(np.radians(exposure.collimator_turn))
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(0.5 * (width - 1))
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(0.5 * (height - 1))
    inside = np.minimum(
        np.float32(0.5 * width - border) - np.abs(x + np.float32(turn) * y),
        np.float32(0.5 * height - border) - np.abs(y - np.float32(turn) * x),
    )
    pixels *= np.clip(inside * np.float32(0.5), 0.0, 1.0)


def _mark(pixels: NDArray[np.uint8], exposure: Exposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lays a lead letter on the lower edge."""
    if not exposure.marker:
        return pixels
    height, width = pixels.shape
    size = max(6, round(exposure.marker * min(height, width)))
    image = Image.fromarray(pixels)
    corner = (exposure.marker_across * width, height - 1.6 * size - exposure.collimation * height)
    letter = "LR"[int(rng.integers(2))]
    ImageDraw.Draw(image).text(corner, letter, fill=235, font=ImageFont.load_default(size))
    return np.array(image)
