"""The primitives of which phantoms are built: what a ray crosses in each is what geometry says."""

import math

import numpy as np
import pytest

from canicor.phantom.beam import Beam
from canicor.phantom.canvas import Canvas
from canicor.phantom.solids import Solids, smooth_path

SCALE = 20.0


def film(**beam):
    return Canvas(Beam(SCALE, 0.0, (100.0, 100.0), 200, 200, **beam))


def tube(path, radius, **kind):
    solids = Solids()
    solids.tube(path, radius, **kind)
    return solids


def block(centre, half, depth, **kind):
    solids = Solids()
    solids.block(centre, half, depth, **kind)
    return solids


def volume(target):
    return float(target.sum()) / SCALE**2


def at(target, x, y):
    return float(target[round(100 + SCALE * y), round(100 + SCALE * x)])


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0])
def test_a_tube_holds_what_a_cylinder_with_round_ends_holds(turn):
    canvas = film()
    end = 3.0 * np.array([math.cos(math.radians(turn)), math.sin(math.radians(turn))])
    target = canvas.thickness(tube([-end, end], 0.8))
    assert volume(target) == pytest.approx(math.pi * 0.8**2 * 6.0 + 4 / 3 * math.pi * 0.8**3, rel=0.01)
    assert at(target, 0.0, 0.0) == pytest.approx(1.6, rel=0.01)


def test_a_tube_does_not_add_to_itself_where_it_bends():
    canvas = film()
    target = canvas.thickness(tube([(-3.0, 0.0), (0.0, 0.0), (0.0, 3.0)], 0.5))
    assert target.max() == pytest.approx(1.0, rel=0.01)


def test_a_marrow_leaves_the_shell():
    canvas = film()
    whole = canvas.thickness(tube([(-3.0, 0.0), (3.0, 0.0)], 1.0))
    hollow = canvas.thickness(tube([(-3.0, 0.0), (3.0, 0.0)], 1.0, marrow=0.5))
    # Four fifths of what lies within half the radius are missing in the middle, and nothing at the rim.
    assert at(hollow, 0.0, 0.0) == pytest.approx(2.0 - 0.8, rel=0.01)
    assert at(hollow, 0.0, 0.8) == pytest.approx(at(whole, 0.0, 0.8), rel=0.01)


def test_a_ray_along_a_tube_crosses_more_of_it():
    canvas = film()
    level = canvas.thickness(tube([(-2.0, 0.0, 0.0), (2.0, 0.0, 0.0)], 0.3))
    slanted = canvas.thickness(tube([(-2.0, 0.0, -2.0), (2.0, 0.0, 2.0)], 0.3))
    assert at(slanted, 0.0, 0.0) == pytest.approx(math.sqrt(2.0) * at(level, 0.0, 0.0), rel=0.02)


@pytest.mark.parametrize(("power", "share"), [(2, 2 / 3 * math.pi), (4, 2.9124)])
def test_a_block_holds_what_its_superellipsoid_holds(power, share):
    """The integral of (1 - |s|^p - |n|^p)^(1/2) over the plane: 2 pi / 3 for p = 2, 2.9124 for p = 4."""
    canvas = film()
    target = canvas.thickness(block((0.5, -0.5), (2.0, 1.0), 1.5, angle=25.0, power=power))
    assert volume(target) == pytest.approx(share * 2.0 * 1.0 * 1.5, rel=0.01)


def test_what_lies_towards_the_tube_is_larger_and_no_thicker():
    canvas = film(source=20.0)
    near = canvas.thickness(block((0.0, 0.0, 4.0), (1.0, 1.0), 1.0, power=2))
    middle = canvas.thickness(block((0.0, 0.0, 0.0), (1.0, 1.0), 1.0, power=2))
    larger = 1.0 / (1.0 - 4.0 / 20.0)
    assert np.count_nonzero(near) == pytest.approx(larger**2 * np.count_nonzero(middle), rel=0.03)
    assert near.max() == pytest.approx(middle.max(), rel=0.01)


def test_a_turned_dog_shows_its_sides_apart():
    canvas = film(roll=10.0, slant=5.0)
    target = canvas.thickness(block((0.0, 0.0, 3.0), (0.3, 0.3), 1.0, power=2))
    y, x = (float((axis * target).sum() / target.sum()) for axis in np.indices(target.shape))
    assert x == pytest.approx(100 + SCALE * 3.0 * math.tan(math.radians(5.0)), abs=0.2)
    assert y == pytest.approx(100 - SCALE * 3.0 * math.tan(math.radians(10.0)), abs=0.2)


def test_what_lies_beside_the_film_adds_nothing():
    beside = tube([(30.0, 0.0), (40.0, 0.0)], 1.0)
    beside.block((0.0, -30.0), (1.0, 1.0), 1.0)
    assert not film().thickness(beside).any()


def test_solids_add_up_where_they_overlap():
    both = tube([(-3.0, 0.0), (3.0, 0.0)], 0.8)
    both.tube([(0.0, -3.0), (0.0, 3.0), (2.0, 3.0)], 0.5)
    both.block((0.0, 0.0), (1.0, 1.0), 0.7)
    assert at(film().thickness(both), 0.0, 0.0) == pytest.approx(1.6 + 1.0 + 0.7, rel=0.01)


def test_a_smooth_path_goes_through_its_points():
    points = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)])
    path = smooth_path(points, 5)
    assert path.shape == (11, 2)
    assert path[::5] == pytest.approx(points)


def test_texture_has_its_grain():
    canvas = film()
    fine, coarse = (canvas.texture(np.random.default_rng(0), grain) for grain in (0.1, 2.0))
    for texture in (fine, coarse):
        assert texture.mean() == pytest.approx(0.0, abs=0.4)
        assert 0.5 < texture.std() < 1.3
    assert np.abs(np.diff(coarse)).mean() < 0.2 * np.abs(np.diff(fine)).mean()
