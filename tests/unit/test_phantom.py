import hashlib
import subprocess
import sys

import numpy as np
import pytest

from canicor.errors import InvalidArgument
from canicor.phantom import draw
from canicor.phantom.canvas import Canvas
from canicor.phantom.phantom import draw_geometry, frame_of
from canicor.phantom.projection import add_heart
from canicor.vhs import HEART_SIZES, HeartSize, heart_size, measure

SMALL_IMAGE = {"width": 160, "height": 128}


def digest(phantom):
    return hashlib.sha256(phantom.pixels.tobytes() + phantom.key_points.xy.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def dogs():
    return [draw_geometry(11, index) for index in range(400)]


@pytest.fixture(scope="module")
def films():
    return [draw(3, index, width=256, height=200) for index in range(24)]


def test_another_process_draws_the_same_bytes():
    program = (
        "import hashlib; from canicor.phantom import draw; p = draw(5, 9, width=160, height=128); "
        "print(hashlib.sha256(p.pixels.tobytes() + p.key_points.xy.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(draw(5, 9, **SMALL_IMAGE))


def test_order_and_global_state_do_not_matter():
    forward = [digest(draw(1, index, **SMALL_IMAGE)) for index in range(4)]
    np.random.seed(0)
    backward = [digest(draw(1, index, **SMALL_IMAGE)) for index in reversed(range(4))]
    assert forward == backward[::-1]


def test_each_seed_and_index_is_another_dog():
    pairs = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (2**32, 0), (0, 2**32), (2**64 - 1, 2**64 - 1)]
    assert len({digest(draw(*pair, **SMALL_IMAGE)) for pair in pairs}) == len(pairs)


def test_numpy_integers_name_the_same_dog():
    assert digest(draw(np.uint64(4), np.int64(2), **SMALL_IMAGE)) == digest(draw(4, 2, **SMALL_IMAGE))


@pytest.mark.parametrize("wanted", [4.0, 6.5, 8.2, 9.7, 10.0, 12.5, 16.0, 20.0])
@pytest.mark.parametrize(("width", "height"), [(160, 128), (64, 64), (300, 64), (64, 300)])
def test_the_wanted_vhs_is_measured_and_all_points_are_seen(wanted, width, height):
    for index in range(3):
        phantom = draw(2, index, vhs=wanted, width=width, height=height)
        assert phantom.pixels.shape == (height, width)
        assert phantom.pixels.dtype == np.uint8
        assert phantom.vhs == pytest.approx(wanted, abs=1e-6)
        assert measure(phantom.key_points).vhs == phantom.vhs
        assert phantom.parameters["vhs"] == wanted
        assert phantom.key_points.outside(width, height) == []


@pytest.mark.parametrize("wanted", HEART_SIZES)
def test_a_class_is_drawn_from_its_band(wanted):
    phantom = draw(8, 0, heart_size=wanted, **SMALL_IMAGE)
    assert heart_size(phantom.vhs) is wanted
    population = [draw_geometry(8, index, heart_size=wanted) for index in range(300)]
    assert {heart_size(dog.vhs) for dog in population} == {wanted}
    # Class means of the study population: ../shared/radiographs/README.md.
    long_axis, short_axis = {
        HeartSize.SMALL: (4.02, 3.49),
        HeartSize.NORMAL: (4.95, 4.37),
        HeartSize.LARGE: (5.74, 5.28),
    }[wanted]
    assert np.mean([dog.long_axis for dog in population]) == pytest.approx(long_axis, abs=0.2)
    assert np.mean([dog.short_axis for dog in population]) == pytest.approx(short_axis, abs=0.2)
    angle = {HeartSize.SMALL: 73.5, HeartSize.NORMAL: 77.2, HeartSize.LARGE: 86.2}[wanted]
    assert np.mean([dog.axis_angle for dog in population]) == pytest.approx(angle, abs=2.5)


def test_a_range_is_filled_evenly():
    values = [draw_geometry(8, index, vhs_range=(13.0, 15.0)).vhs for index in range(400)]
    counts, _ = np.histogram(values, bins=4, range=(13.0, 15.0))
    assert counts.sum() == len(values)
    assert counts.min() > 60


@pytest.mark.parametrize(
    ("name", "mean", "sd"),
    [
        ("vhs", 9.65, 1.34),
        ("long_axis", 5.09, 0.67),
        ("short_axis", 4.56, 0.75),
        ("axis_ratio", 0.90, 0.09),
        ("axis_angle", 79.8, 8.4),
        ("carina_along", 1.48, 0.62),
        ("carina_ventral", 2.07, 0.45),
        ("crossing_long", 0.34, 0.05),
        ("spine_rise", 17.5, 7.9),
    ],
)
def test_hearts_are_spread_like_the_study_population(dogs, name, mean, sd):
    values = np.array([getattr(dog, name) for dog in dogs])
    assert values.mean() == pytest.approx(mean, abs=0.25 * sd)
    assert values.std() == pytest.approx(sd, rel=0.25)


def test_the_apex_lies_where_the_study_population_has_it(dogs):
    apex = np.array([dog.key_points()[1] for dog in dogs])
    assert apex.mean(axis=0) == pytest.approx([2.32, 7.04], abs=0.25)
    assert apex.std(axis=0) == pytest.approx([1.09, 1.00], rel=0.25)


def test_the_points_lie_as_they_are_defined(films):
    for film in films:
        a, b, c, d, e, f = film.key_points.xy
        assert np.dot(b - a, d - c) == pytest.approx(0.0, abs=1e-6)
        crossing = a + film.parameters["crossing_long"] * (b - a)
        assert crossing == pytest.approx(c + film.parameters["crossing_short"] * (d - c))
        assert e[0] < f[0]
        assert c[0] < d[0]
        assert a[1] < b[1]


@pytest.mark.parametrize("wanted", [5.0, 8.0, 9.7, 12.0, 18.0])
def test_the_silhouette_spans_the_axes_exactly(wanted):
    dog = draw_geometry(6, round(wanted), vhs=wanted)
    canvas = Canvas(frame_of(dog, 512, 512))
    thickness = canvas.blank()
    add_heart(dog, canvas, thickness)
    rows, columns = np.nonzero(thickness)
    a, b, c, d = canvas.frame.to_pixels(dog.key_points())[:4]
    for start, end in ((a, b), (c, d)):
        length = np.hypot(*(end - start))
        along = np.stack([columns, rows], axis=1) @ (end - start) / length - start @ (end - start) / length
        assert along.min() == pytest.approx(0.0, abs=1.5)
        assert along.max() == pytest.approx(length, abs=1.5)


def grey(film, point, reach=2):
    x, y = np.round(point).astype(int)
    return float(np.median(film.pixels[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]))


def vertebra(film):
    return np.hypot(*(film.key_points.xy[5] - film.key_points.xy[4])) / 6


@pytest.mark.parametrize(("end", "other"), [(2, 3), (3, 2)])
def test_the_heart_is_denser_than_the_lung_beside_the_short_axis(films, end, other):
    for film in films:
        xy = film.key_points.xy
        outward = (xy[end] - xy[other]) / np.hypot(*(xy[end] - xy[other]))
        beside = np.array([-outward[1], outward[0]])
        # Along the edge, so that one rib or vessel crossing it does not decide.
        places = xy[end] + vertebra(film) * np.linspace(-0.5, 0.5, 11)[:, None] * beside
        inside = np.mean([grey(film, place - 0.5 * vertebra(film) * outward, 1) for place in places])
        outside = np.mean([grey(film, place + 0.25 * vertebra(film) * outward, 1) for place in places])
        assert inside > outside


def test_the_carina_lies_under_the_dark_trachea(films):
    darker = 0
    for film in films:
        scale, rise = vertebra(film), np.radians(film.parameters["spine_rise"])
        ventral = np.array([np.sin(rise), np.cos(rise)])
        carina, radius = film.key_points.xy[0], film.parameters["trachea_radius"]
        darker += grey(film, carina - radius * scale * ventral, 1) < grey(film, carina + scale * ventral, 1)
    assert darker >= 0.9 * len(films)


def test_the_spine_is_denser_than_the_lung_below_it(films):
    for film in films:
        e, f = film.key_points.xy[4:]
        along = (f - e) / np.hypot(*(f - e))
        ventral = np.array([-along[1], along[0]])
        scale = vertebra(film)
        steps = np.linspace(0.1, 0.9, 30)
        body = [grey(film, e + share * (f - e) - 0.2 * scale * ventral, 0) for share in steps]
        below = [grey(film, e + share * (f - e) + 0.6 * scale * ventral, 0) for share in steps]
        assert np.mean(body) > np.mean(below) + 10


def test_a_film_uses_the_grey_scale(films):
    for film in films:
        assert film.pixels.min() < 30
        assert film.pixels.max() > 200
        assert len(np.unique(film.pixels)) > 100


def test_parameters_are_named_numbers(films):
    assert all(film.parameters.keys() == films[0].parameters.keys() for film in films)
    assert all(type(value) is float and np.isfinite(value) for film in films for value in film.parameters.values())


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"index": -1}, "index"),
        ({"index": 2**64}, "index"),
        ({"width": 63}, "width"),
        ({"height": 4097}, "height"),
        ({"width": 100.5}, "width"),
        ({"vhs": 3.99}, "vhs"),
        ({"vhs": 20.01}, "vhs"),
        ({"vhs": float("nan")}, "vhs"),
        ({"vhs": float("inf")}, "vhs"),
        ({"vhs_range": (9.0, 9.0)}, "vhs_range"),
        ({"vhs_range": (10.0, 9.0)}, "vhs_range"),
        ({"vhs_range": (3.0, 9.0)}, "vhs_range"),
        ({"vhs_range": (9.0, float("nan"))}, "vhs_range"),
        ({"heart_size": "Huge"}, "heart_size"),
        ({"vhs": 9.0, "heart_size": HeartSize.NORMAL}, "heart_size"),
        ({"heart_size": HeartSize.NORMAL, "vhs_range": (9.0, 10.0)}, "vhs_range"),
        ({"vhs": 9.0, "vhs_range": (9.0, 10.0)}, "vhs_range"),
    ],
)
def test_bad_input_is_refused_with_its_field(arguments, field):
    with pytest.raises(InvalidArgument) as refused:
        draw(**({"seed": 0, "index": 0} | arguments))
    assert refused.value.field == field
    assert refused.value.reason != "INVALID_ARGUMENT"
