"""A dog and a frame -> the tissue that each ray crosses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from canicor.phantom.anatomy import Anatomy, egg_width
from canicor.phantom.canvas import Canvas, Frame, Map

_RIBS = 13
_FIRST_THORACIC = -3
"""T1 in vertebrae from E, which is T4's cranial edge."""

# The caudal vertebrae are longer than the mid-thoracic ruler, the cervical ones too (by eye on laterals).
_FIRST_VERTEBRA, _FIRST_LUMBAR, _LAST_VERTEBRA = -8, 10, 16
_NECK_LENGTH, _LOIN_LENGTH = 1.25, 1.2
_STERNEBRAE = 8


@dataclass(frozen=True)
class Thickness:
    """Tissue along each ray, in v.

    Attributes:
        soft: Soft tissue, what is aerated counted by its share of tissue.
        bone: Bone.
    """

    soft: Map
    bone: Map


def texture(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> Map:
    """Smooth noise of unit variance or a little less, its grains `grain` pixels wide."""
    coarse = (max(2, round(shape[0] / grain) + 1), max(2, round(shape[1] / grain) + 1))
    noise = Image.fromarray(rng.standard_normal(coarse, dtype=np.float32))
    return np.asarray(noise.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def project(anatomy: Anatomy, frame: Frame, rng: np.random.Generator) -> Thickness:
    """Adds up what each ray crosses. `rng` gives the texture of the tissues and the vessels' branching."""
    canvas = Canvas(frame)
    soft = _body(anatomy, canvas)
    lobules = texture(rng, soft.shape, 0.25 * frame.scale)
    soft *= 1.0 + np.float32(0.02) * texture(rng, soft.shape, 1.5 * frame.scale) + np.float32(0.005) * lobules
    lung = _lung(anatomy, canvas, rng)
    soft -= np.float32(anatomy.lung_air) * lung * (1.0 + np.float32(0.05) * lobules)
    soft -= _gas(anatomy, canvas, rng)
    return Thickness(np.maximum(soft, 0.0, out=soft), _skeleton(anatomy, canvas, rng))


def _by(caudal: float, ventral: float) -> NDArray[np.float64]:
    return np.array([caudal, ventral])


def _body(anatomy: Anatomy, canvas: Canvas) -> Map:
    """The trunk and neck with skin and fat, the shoulder and the forelimb."""

    def back(x: NDArray[np.float64]) -> NDArray[np.float64]:
        withers = anatomy.withers * np.exp(-(((x + 1.5) / 4.5) ** 2))
        return anatomy.spine_at(x) - anatomy.vertebra_height - 1.7 - anatomy.fat - withers

    def belly(x: NDArray[np.float64]) -> NDArray[np.float64]:
        tuck = anatomy.belly_tuck * np.maximum(x - 5.0, 0.0) ** 2
        chest = anatomy.sternum_at(x) + 1.0 + anatomy.fat - np.minimum(tuck, 4.0)
        throat = anatomy.spine_at(x) + 3.2 + 0.5 * anatomy.fat
        into_chest = 1.0 / (1.0 + np.exp(-(x - anatomy.inlet - 1.0) * 1.6))
        return np.maximum(throat, chest) + np.minimum(chest - throat, 0.0) * into_chest

    def half_width(x: NDArray[np.float64]) -> NDArray[np.float64]:
        trunk = 0.5 * anatomy.chest_width + 0.4 + 0.6 * anatomy.fat
        return trunk * (0.62 + 0.38 / (1.0 + np.exp(-(x - anatomy.inlet) * 0.9)))

    top, bottom = canvas.along_x(back), canvas.along_x(belly)
    across = (2.0 * canvas.y - top - bottom) / (bottom - top)
    across *= across
    width = canvas.along_x(lambda x: 2.0 * half_width(x))
    lean = across * np.float32(1.0 + 0.3 * anatomy.fat)
    # Fat attenuates about a ninth less than muscle (NIST XCOM, 60 keV), so the skin's side is a little darker.
    soft: Map = width * np.float32(0.89) * np.sqrt(np.maximum(1.0 - across * across, 0.0))
    soft += width * np.float32(0.11) * np.sqrt(np.maximum(1.0 - lean * lean, 0.0))
    shoulder = np.array([anatomy.inlet - 0.6, 1.8])
    for share in (0.6, 0.8, 1.0, 1.2):
        canvas.block(soft, shoulder, (2.9 * share, 4.6 * share), 0.3 * anatomy.shoulder, angle=20.0, power=2)
    if anatomy.limb:
        elbow, wrist = _limb(anatomy)
        canvas.tube(soft, _shoulder_joint(anatomy) - _by(0.0, 1.0), elbow, (2.6, 1.6), weight=0.25)
        canvas.tube(soft, elbow, wrist, (1.3, 0.8), weight=0.6)
    return soft


def _lung(anatomy: Anatomy, canvas: Canvas, rng: np.random.Generator) -> Map:
    """The chest's cavity less what lies in it."""
    solid = canvas.blank()
    add_heart(anatomy, canvas, solid)
    _vessels(anatomy, canvas, solid)
    _lung_vessels(anatomy, canvas, solid, rng)
    behind = canvas.x - canvas.along_y(anatomy.diaphragm_at)
    # The chord of the paraboloid x = z^2 / 2R: the dome of the diaphragm, R = 2.5 v.
    solid += np.float32(2.0) * np.sqrt(np.float32(5.0) * np.maximum(behind, 0.0))

    def width(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return anatomy.chest_width * np.sin(0.5 * np.pi * np.clip((x - anatomy.inlet + 0.3) / 4.0, 0.0, 1.0))

    top, bottom = canvas.along_x(lambda x: anatomy.spine_at(x) - 0.2), canvas.along_x(anatomy.sternum_at)
    across = (2.0 * canvas.y - top - bottom) / (bottom - top)
    across *= across
    cavity: Map = canvas.along_x(width) * np.sqrt(np.maximum(1.0 - across * across, 0.0))
    cavity -= solid
    return np.maximum(cavity, 0.0, out=cavity)


def add_heart(anatomy: Anatomy, canvas: Canvas, target: Map) -> None:
    """Adds the heart, whose silhouette has A-B as its long axis and C-D as its greatest width."""
    canvas.egg(
        target,
        anatomy.carina,
        anatomy.long_axis * anatomy.axis,
        (anatomy.crossing_short * anatomy.short_axis, (1.0 - anatomy.crossing_short) * anatomy.short_axis),
        min(anatomy.heart_thickness * anatomy.short_axis, 0.95 * anatomy.chest_width),
        lambda along: egg_width(along, anatomy.crossing_long),
        anatomy.heart_outline,
    )


def _vessels(anatomy: Anatomy, canvas: Canvas, solid: Map) -> None:
    """Aorta, cranial mediastinum and caudal vena cava."""
    carina = anatomy.carina
    top = carina - _by(0.1, anatomy.trachea_radius)
    arch = np.array([carina[0] + 0.7, float(anatomy.spine_at(carina[0] + 0.7)) + 0.75])
    canvas.tube(solid, carina + _by(-0.4, 0.6), arch, (0.6, anatomy.aorta_radius), bow=0.3, weight=0.5)
    loin = (9.5, float(anatomy.spine_at(9.5)) + 0.55)
    canvas.tube(solid, arch, loin, (anatomy.aorta_radius, 0.75 * anatomy.aorta_radius), weight=0.8)
    # Cranial mediastinum: the great vessels and the oesophagus about the trachea.
    for drop, radius in ((-0.5, 0.8), (0.8, 0.9)):
        canvas.tube(
            solid,
            _up_the_trachea(anatomy, 7.0) + _by(0.0, drop),
            top + _by(0.0, drop),
            (radius, 0.3 * radius),
            weight=anatomy.mediastinum / (2.0 * radius),
        )
    # The hilus: atria, lobar vessels and nodes that blur the heart's base.
    canvas.block(solid, carina + _by(0.7, 0.5), (1.7, 1.2), 0.8, power=2)
    cava = anatomy.caudal_border(0.52) - _by(0.2, 0.0)
    reach = float(anatomy.diaphragm_at(cava[1])) + 0.8
    canvas.tube(solid, cava, (reach, cava[1] - 0.15 * (reach - cava[0])), (anatomy.cava_radius,) * 2, bow=0.08)


def _lung_vessels(anatomy: Anatomy, canvas: Canvas, solid: Map, rng: np.random.Generator) -> None:
    """Arteries and veins fan out from the hilus, mostly into the caudal lobes, and fork once."""
    hilus = anatomy.carina + _by(0.6, 0.0)
    for heading in np.concatenate([rng.uniform(-20.0, 40.0, 15), rng.uniform(115.0, 170.0, 6)]):
        start, radius = hilus + rng.normal(0.0, 0.4, 2), rng.uniform(0.07, 0.16)
        for length in rng.uniform(1.2, 2.6, 3):
            turn = np.radians(heading)
            end = start + length * np.array([np.cos(turn), np.sin(turn)])
            canvas.tube(solid, start, end, (radius, 0.6 * radius), bow=rng.normal(0.0, 0.1), weight=1.3)
            start, radius, heading = end, 0.6 * radius, heading + rng.normal(0.0, 16.0)


def _up_the_trachea(anatomy: Anatomy, distance: float) -> NDArray[np.float64]:
    """The point of the trachea's midline so far cranial of its end, whose ventral border is the carina."""
    angle = np.radians(anatomy.trachea_angle)
    away = np.array([np.cos(angle), np.sin(angle)])
    return np.asarray(anatomy.carina - _by(0.0, anatomy.trachea_radius) - distance * away)


def _gas(anatomy: Anatomy, canvas: Canvas, rng: np.random.Generator) -> Map:
    """Airways and what gas the stomach and gut hold."""
    gas, radius = canvas.blank(), anatomy.trachea_radius
    carina = _up_the_trachea(anatomy, 0.0)
    canvas.tube(gas, _up_the_trachea(anatomy, 18.0), carina, (radius, radius), bow=0.15, weight=0.85)
    canvas.tube(gas, carina, carina + _by(1.3, 0.35), (0.7 * radius, 0.35 * radius), weight=0.6)
    canvas.tube(gas, carina, carina + _by(1.4, 0.0), (0.7 * radius, 0.3 * radius), weight=0.6)
    if anatomy.stomach_gas:
        middle = np.array([float(anatomy.diaphragm_at(3.0)) + 1.6 + anatomy.stomach_gas, 3.0])
        for _ in range(4):
            half = anatomy.stomach_gas * rng.uniform(0.4, 1.0, 2)
            canvas.block(
                gas,
                middle + rng.normal(0.0, 0.5, 2),
                (half[0], half[1]),
                0.7,
                angle=rng.uniform(0.0, 90.0),
                power=2,
            )
    for _ in range(rng.poisson(10.0)):
        loop = np.array([anatomy.diaphragm_top + rng.uniform(0.5, 6.0), rng.uniform(2.5, 7.0)])
        end = loop + rng.normal(0.0, 0.9, 2)
        canvas.tube(
            gas,
            loop,
            end,
            tuple(rng.uniform(0.12, 0.4, 2)),
            bow=rng.normal(0.0, 0.4),
            weight=rng.uniform(0.2, 0.8),
        )
    return gas


def _skeleton(anatomy: Anatomy, canvas: Canvas, rng: np.random.Generator) -> Map:
    bone = canvas.blank()
    _spine(anatomy, canvas, bone, rng)
    _ribs(anatomy, canvas, bone, rng)
    _sternum(anatomy, canvas, bone, rng)
    if anatomy.scapula:
        joint = _shoulder_joint(anatomy)
        blade = joint + _by(1.4, -3.4)
        canvas.block(bone, 0.5 * (joint + blade), (2.0, 0.95), anatomy.scapula, angle=-68.0)
        canvas.tube(bone, joint + _by(0.1, -0.5), blade, (0.09, 0.12), weight=1.2)
    if anatomy.limb:
        radius, joint = anatomy.limb, _shoulder_joint(anatomy)
        elbow, wrist = _limb(anatomy)
        canvas.block(bone, joint, (1.6 * radius, 1.5 * radius), 0.7, power=2)
        for offset in (np.zeros(2), np.array([0.5, 0.35])):
            canvas.tube(bone, joint + offset, elbow + offset, (1.1 * radius, 0.8 * radius), bow=0.15, marrow=0.65)
            canvas.tube(bone, elbow + offset, wrist + offset, (0.6 * radius,) * 2, bow=0.1, marrow=0.6)
            canvas.tube(bone, elbow + offset * 1.6, wrist + offset * 1.8, (0.5 * radius, 0.3 * radius), marrow=0.6)
    return bone


def _shoulder_joint(anatomy: Anatomy) -> NDArray[np.float64]:
    return np.array([anatomy.inlet - 2.2, 3.4])


def _limb(anatomy: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Elbow and wrist."""
    angle = np.radians(anatomy.limb_angle)
    elbow = _shoulder_joint(anatomy) + 4.2 * np.array([np.cos(angle) - 0.6, np.sin(angle)])
    return elbow, elbow + 5.0 * np.array([-0.75, 0.65])


def _vertebra_edge(index: int) -> float:
    """Where along x a vertebra's cranial edge lies; T4 has index 0."""
    neck, loin = min(index - _FIRST_THORACIC, 0), max(index - _FIRST_LUMBAR, 0)
    return index + (_NECK_LENGTH - 1.0) * neck + (_LOIN_LENGTH - 1.0) * loin


def _spine(anatomy: Anatomy, canvas: Canvas, bone: Map, rng: np.random.Generator) -> None:
    """Separate vertebrae: body, endplates, arch, joint and spinous process."""
    height, depth = anatomy.vertebra_height, anatomy.vertebra_depth
    for index in range(_FIRST_VERTEBRA, _LAST_VERTEBRA):
        edges = np.array([_vertebra_edge(index), _vertebra_edge(index + 1) - anatomy.disc])
        ends = np.stack([edges, anatomy.spine_at(edges)], axis=1)
        along = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
        dorsal = np.array([along[1], -along[0]])
        angle = float(np.degrees(np.arctan2(along[1], along[0])))
        length = float(np.hypot(*(ends[1] - ends[0])))
        density = depth * rng.uniform(0.85, 1.15)
        # E and F lie on an endplate a little above the body's ventral corner.
        middle = ends.mean(axis=0) + (0.5 * height - 0.1) * dorsal
        canvas.block(bone, middle, (0.5 * length, 0.5 * height), 0.62 * density, angle=angle)
        for side in (-1.0, 1.0):
            plate = middle + side * (0.5 * length - 0.055) * along
            canvas.block(bone, plate, (0.055, 0.52 * height), 0.5 * density, angle=angle)
        arch = middle + (0.5 * height + 0.38) * dorsal
        canvas.block(bone, arch, (0.46 * length, 0.18), 0.4 * density, angle=angle)
        joint = arch - (0.52 * length) * along + 0.02 * dorsal
        canvas.block(bone, joint, (0.24, 0.22), 0.55 * depth, angle=angle + 25.0, power=2)
        pedicle = middle + 0.5 * height * dorsal - 0.2 * length * along
        canvas.block(bone, pedicle, (0.2 * length, 0.45), 0.35 * depth, angle=angle)
        # Ribs' heads, transverse and articular processes of both sides: a different tangle at each vertebra.
        for knob in arch + rng.normal(0.0, (0.3, 0.16), (4, 2)):
            half = rng.uniform(0.1, 0.26, 2)
            canvas.block(bone, knob, (half[0], half[1]), 0.3, angle=rng.uniform(0.0, 90.0), power=2)
        _process(anatomy, canvas, bone, index, arch, along, dorsal, rng)


def _process(
    anatomy: Anatomy,
    canvas: Canvas,
    bone: Map,
    index: int,
    arch: NDArray[np.float64],
    along: NDArray[np.float64],
    dorsal: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Long and tilted caudally on T1 to T9, short and upright on the loin, low on the neck."""
    thoracic = index - _FIRST_THORACIC
    if thoracic < 0:
        length, tilt, radius = 0.45, 0.0, 0.16
    else:
        fading = float(np.clip(thoracic / 10.0, 0.0, 1.0))
        length = anatomy.process_length * (1.0 - fading) + 0.75 * fading
        tilt = float(np.radians(anatomy.process_tilt * (1.0 + 0.4 * fading) if thoracic < 10 else -8.0))
        radius = 0.14 + 0.1 * fading
    length *= rng.uniform(0.92, 1.08)
    tip = arch + length * (np.cos(tilt) * dorsal + np.sin(tilt) * along)
    canvas.tube(bone, arch, tip, (radius, 1.15 * radius), bow=-0.06 * length, weight=0.8, marrow=0.6)


def _ribs(anatomy: Anatomy, canvas: Canvas, bone: Map, rng: np.random.Generator) -> None:
    """Thirteen pairs: a bony arc leaning caudally, then the cartilage bending cranially to the sternum."""
    for rib in range(_RIBS):
        head_x = _vertebra_edge(_FIRST_THORACIC + rib) + 0.05
        for far in (0.0, anatomy.rib_parallax):
            lean = anatomy.rib_lean + 0.028 * rib + rng.normal(0.0, 0.012)
            head = np.array([head_x, float(anatomy.spine_at(head_x)) - 0.15])
            depth = float(anatomy.sternum_at(head_x + 3.0 * lean)) - head[1]
            # The last four ribs float: each ends further from the sternum.
            drop = depth * (0.84 - 0.09 * max(rib - 8, 0)) + far * 0.3
            tip = head + _by(lean * drop + far, drop)
            radius = anatomy.rib_radius * (0.9 if far else 1.0)
            canvas.tube(bone, head, tip, (0.8 * radius, radius), bow=-0.09 * drop, weight=1.3, marrow=0.78)
            canvas.block(bone, head, (0.2, 0.17), 0.22, power=2)
            foot = tip + _by(-0.1 - 0.12 * rib * rng.uniform(0.7, 1.2), 0.16 * depth - far * 0.3)
            if rib < 9:
                canvas.tube(bone, tip, foot, (0.9 * radius, 0.6 * radius), bow=0.2, weight=rng.uniform(0.1, 0.4))


def _sternum(anatomy: Anatomy, canvas: Canvas, bone: Map, rng: np.random.Generator) -> None:
    """Eight sternebrae from before the inlet to behind the apex, none quite in line."""
    apex = anatomy.key_points()[1, 0]
    edges = np.linspace(anatomy.inlet - 0.6, max(apex + 1.6, anatomy.inlet + 6.0), _STERNEBRAE + 1)
    # Cranial of the inlet the manubrium points up to the neck.
    heights = anatomy.sternum_at(edges) + 0.3 - 0.5 * np.maximum(anatomy.inlet - edges, 0.0)
    joints = np.stack([edges, heights + rng.normal(0.0, 0.05, heights.size)], axis=1)
    for left, step in zip(joints, np.diff(joints, axis=0), strict=False):
        angle = float(np.degrees(np.arctan2(step[1], step[0])) + rng.normal(0.0, 2.0))
        half = (0.42 * float(np.hypot(*step)), rng.uniform(0.2, 0.28))
        canvas.block(bone, left + 0.5 * step, half, 0.25, angle=angle)
        for share in (0.1, 0.9):
            canvas.block(bone, left + share * step, (0.06, 0.25), 0.16, angle=angle)
