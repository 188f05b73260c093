import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from canicor.errors import InvalidArgument
from canicor.phantom import BreedType, LateralView, draw, plain_film
from canicor.phantom.canvas import Canvas
from canicor.phantom.dog import Tissue
from canicor.phantom.exposure import expose
from canicor.phantom.phantom import draw_dog, examine
from canicor.vhs import HEART_SIZES, HeartSize, KeyPoints, heart_size, measure

MEASURED = Path(__file__).parents[3] / "shared" / "radiographs" / "geometry.csv"

SMALL_IMAGE = {"width": 160, "height": 128}


def digest(phantom):
    return hashlib.sha256(phantom.pixels.tobytes() + phantom.key_points.xy.tobytes()).hexdigest()


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
    population = [draw_dog(8, index, heart_size=wanted) for index in range(300)]
    assert {heart_size(dog.heart.vhs) for dog in population} == {wanted}
    # Class means of the study population: ../shared/radiographs/README.md.
    long_axis, short_axis = {
        HeartSize.SMALL: (4.02, 3.49),
        HeartSize.NORMAL: (4.95, 4.37),
        HeartSize.LARGE: (5.74, 5.28),
    }[wanted]
    assert np.mean([dog.heart.long_axis for dog in population]) == pytest.approx(long_axis, abs=0.2)
    assert np.mean([dog.heart.short_axis for dog in population]) == pytest.approx(short_axis, abs=0.2)
    angle = {HeartSize.SMALL: 73.5, HeartSize.NORMAL: 77.2, HeartSize.LARGE: 86.2}[wanted]
    assert np.mean([dog.heart.axis_angle for dog in population]) == pytest.approx(angle, abs=2.5)


def test_a_range_is_filled_evenly():
    values = [draw_dog(8, index, vhs_range=(13.0, 15.0)).heart.vhs for index in range(400)]
    counts, _ = np.histogram(values, bins=4, range=(13.0, 15.0))
    assert counts.sum() == len(values)
    assert counts.min() > 60


def figures(points):
    """The quantities of ../shared/radiographs/geometry.csv, by its names."""
    a, b, c, d, e, f = points
    ruler, vertebra = (f - e) / np.hypot(*(f - e)), np.hypot(*(f - e)) / 6
    frame = np.array([ruler, [-ruler[1], ruler[0]]])
    long_axis, short_axis, from_e, to_b = frame @ (b - a), frame @ (d - c), frame @ (a - e), frame @ (b - e)
    crossing = np.linalg.solve(np.stack([b - a, c - d], axis=1), c - a)
    lengths = np.hypot(*long_axis) / vertebra, np.hypot(*short_axis) / vertebra
    return {
        "long_v": lengths[0],
        "short_v": lengths[1],
        "short_over_long": lengths[1] / lengths[0],
        "long_axis_angle_deg": np.degrees(np.arctan2(long_axis[1], long_axis[0])),
        "A_along_v": from_e[0] / vertebra,
        "A_ventral_v": from_e[1] / vertebra,
        "B_along_v": to_b[0] / vertebra,
        "B_ventral_v": to_b[1] / vertebra,
        "cross_fraction_long": crossing[0],
        "cross_fraction_short": crossing[1],
        "spine_rise_deg": np.degrees(np.arctan2(e[1] - f[1], f[0] - e[0])),
        "vhs": sum(lengths),
    }


@pytest.fixture(scope="module")
def population():
    examinations = [examine(21, index) for index in range(2000)]
    points = [one.beam.to_pixels(one.dog.heart.key_points()) for one in examinations]
    return examinations, points


@pytest.mark.skipif(not MEASURED.exists(), reason="the measured hearts lie outside the repository, in ../shared")
def test_hearts_are_spread_like_the_study_population(population):
    with MEASURED.open() as file:
        rows = list(csv.DictReader(file))
    drawn = [figures(points) for points in population[1]]
    for name in rows[0]:
        real, made = np.array([float(row[name]) for row in rows]), np.array([one[name] for one in drawn])
        assert made.mean() == pytest.approx(real.mean(), rel=0.1), name
        assert made.std(ddof=1) == pytest.approx(real.std(ddof=1), rel=0.1), name
        assert ks_2samp(real, made).pvalue > 0.01, name


def test_hearts_are_spread_as_documented(population):
    drawn = [figures(points) for points in population[1]]
    for name, mean, sd in (
        ("vhs", 9.65, 1.34),
        ("long_v", 5.09, 0.67),
        ("short_v", 4.56, 0.75),
        ("long_axis_angle_deg", 79.8, 8.4),
        ("A_along_v", 1.48, 0.62),
        ("A_ventral_v", 2.07, 0.45),
        ("B_along_v", 2.32, 1.09),
        ("B_ventral_v", 7.04, 1.00),
        ("spine_rise_deg", 17.5, 7.9),
    ):
        values = np.array([one[name] for one in drawn])
        assert values.mean() == pytest.approx(mean, rel=0.1), name
        assert values.std() == pytest.approx(sd, rel=0.1), name


def test_the_vhs_drawn_is_measured_on_the_film_and_all_points_are_on_it(population):
    for examination, points in zip(*population, strict=True):
        key_points = KeyPoints.from_array(points)
        assert measure(key_points).vhs == pytest.approx(examination.dog.heart.vhs, abs=1e-6)
        assert key_points.outside(512, 400) == []


def test_all_builds_are_drawn_and_a_wish_is_kept(population):
    builds = [examination.dog.breed for examination in population[0]]
    assert set(builds) == set(BreedType)
    assert all(draw_dog(4, index, breed=BreedType.OBESE).breed is BreedType.OBESE for index in range(5))
    fat = {
        breed: np.mean([draw_dog(4, index, breed=breed).trunk.fat for index in range(60)])
        for breed in (BreedType.OBESE, BreedType.AVERAGE, BreedType.DEEP)
    }
    assert fat[BreedType.OBESE] > fat[BreedType.AVERAGE] + 0.3 > fat[BreedType.DEEP] + 0.3


def test_a_fixed_parameter_leaves_the_others_alone():
    free, fixed = (draw(7, 1, fixed=wish, **SMALL_IMAGE) for wish in (None, {"roll": 9.0, "axis_angle": 85.0}))
    assert fixed.parameters["roll"] == 9.0
    assert fixed.parameters["axis_angle"] == 85.0
    changed = {name for name, value in fixed.parameters.items() if value != free.parameters[name]}
    # The collimator opens as far as the heart needs.
    assert {name for name in changed if not name.endswith("_border")} == {"roll", "axis_angle"}


@pytest.mark.parametrize("wanted", LateralView)
def test_a_view_is_drawn_and_a_wish_is_kept(wanted):
    views = [draw(7, index, view=wanted, width=64, height=64).view for index in range(6)]
    assert set(views) == {wanted}
    assert {draw(7, index, width=64, height=64).view for index in range(12)} == set(LateralView)


def test_fluid_round_the_heart_makes_it_a_globe_with_a_sharp_border():
    def profile(effusion):
        examination = examine(7, 4, vhs=10.0, width=512, height=512, fixed={"effusion": effusion})
        canvas, heart = Canvas(examination.beam), examination.dog.heart
        thickness = canvas.thickness(heart.solids())
        c, d = canvas.beam.to_pixels(heart.key_points())[2:4]
        line = c + np.linspace(0.0, 1.0, 200)[:, None] * (d - c)
        chord = thickness[tuple(np.round(line[:, ::-1]).astype(int).T)]
        return (thickness > 0).sum(), chord[20] / chord.max()

    (area, border), (globe, sharp) = profile(0.0), profile(1.0)
    assert globe > area
    assert sharp > border


def test_faults_of_exposure_are_seen():
    def film(**fixed):
        plain = {"overexposed": 0.0, "underexposed": 0.0, "jpeg_quality": 0.0, "screen": 0.0, "lung_grey": 0.0}
        return draw(7, 5, fixed=plain | fixed, width=256, height=200)

    good, black, noisy = film(), film(overexposed=12.0), film(underexposed=0.6)
    inside = good.masks["lungs"]
    assert (black.pixels[inside] == 0).sum() > 2 * (good.pixels[inside] == 0).sum()
    coarse, fine = (np.abs(np.diff(one.pixels.astype(int), axis=1)).mean() for one in (noisy, good))
    assert coarse > 1.1 * fine


def test_a_crop_moves_points_out_of_the_film_only_where_asked():
    cropped = draw(7, 1, fixed={"crop": 0.4}, **SMALL_IMAGE)
    assert cropped.key_points.outside(160, 128)


def test_the_collimator_does_not_cover_a_key_point():
    for index in range(40):
        shown = draw(
            9, index, fixed={"left_border": 0.3, "lower_border": 0.3, "marker": 0.0}, width=256, height=200
        )
        for point in shown.key_points.xy:
            assert grey(shown, point) > 0


def test_a_dog_may_face_right():
    left, right = (
        draw(7, 2, fixed={"mirrored": mirrored, "marker": 0.0}, **SMALL_IMAGE) for mirrored in (0.0, 1.0)
    )
    mirrored = left.key_points.xy * (-1, 1) + (159, 0)
    assert right.key_points.xy == pytest.approx(mirrored)
    assert right.vhs == pytest.approx(left.vhs)
    assert np.abs(right.pixels[:, ::-1].astype(int) - left.pixels).mean() < 3
    assert (right.masks["heart"][:, ::-1] == left.masks["heart"]).all()


def test_more_bits_show_the_same_picture_finer():
    fixed = {"jpeg_quality": 0.0}
    coarse, fine = (draw(7, 3, fixed=fixed, bits=bits, **SMALL_IMAGE).pixels for bits in (8, 14))
    assert fine.dtype == np.uint16
    assert fine.max() < 2**14
    assert np.abs(fine / (2**14 - 1) - coarse / 255).max() <= 0.5 / 255 + 1e-4
    assert len(np.unique(fine)) > 2 * len(np.unique(coarse))


def test_the_masks_lie_where_the_points_say(films):
    for film in films:
        a, b, c, d = film.key_points.xy[:4]
        for share in (0.1, 0.5, 0.9):
            for start, end in ((a, b), (c, d)):
                x, y = np.round(start + share * (end - start)).astype(int)
                assert film.masks["heart"][y, x]
        lungs, dog = film.masks["lungs"], film.masks["dog"]
        assert (lungs & ~dog).sum() < 0.01 * lungs.sum()
        assert 0.03 < lungs.sum() / dog.sum() < 0.7


def test_the_points_lie_as_they_are_defined(films):
    for film in films:
        a, b, c, d, e, f = film.key_points.xy
        assert np.dot(b - a, d - c) == pytest.approx(0.0, abs=1e-6)
        crossing = a + film.parameters["crossing_long"] * (b - a)
        assert crossing == pytest.approx(c + film.parameters["crossing_short"] * (d - c))
        faces_right = bool(film.parameters["mirrored"])
        assert (e[0] > f[0], c[0] > d[0]) == (faces_right, faces_right)
        assert a[1] < b[1]


@pytest.mark.parametrize("wanted", [5.0, 8.0, 9.7, 12.0, 18.0])
def test_the_silhouette_spans_the_axes_exactly(wanted):
    dog = draw_dog(6, round(wanted), vhs=wanted)
    canvas = Canvas(examine(6, round(wanted), vhs=wanted, width=512, height=512).beam)
    thickness = canvas.thickness(dog.heart.solids())
    rows, columns = np.nonzero(thickness)
    a, b, c, d = canvas.beam.to_pixels(dog.heart.key_points())[:4]
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


# Caudally, at the atrium, the heart fades: readers set D where it has.
@pytest.mark.parametrize(("end", "other", "depth"), [(2, 3, 0.5), (3, 2, 1.2)])
def test_the_heart_is_denser_than_the_lung_beside_the_short_axis(films, end, other, depth):
    denser = 0
    for film in films:
        xy = film.key_points.xy
        outward = (xy[end] - xy[other]) / np.hypot(*(xy[end] - xy[other]))
        beside = np.array([-outward[1], outward[0]])
        # Along the edge, so that one rib or vessel crossing it does not decide.
        places = xy[end] + vertebra(film) * np.linspace(-0.5, 0.5, 11)[:, None] * beside
        inside = np.mean([grey(film, place - depth * vertebra(film) * outward, 1) for place in places])
        outside = np.mean([grey(film, place + 0.25 * vertebra(film) * outward, 1) for place in places])
        denser += inside > outside
    # Liver, mediastinum or a limb may hide the border.
    assert denser >= 0.7 * len(films)


def test_the_carina_lies_under_the_dark_trachea(films):
    darker = 0
    for film in films:
        a, e, f = film.key_points.xy[[0, 4, 5]]
        ruler = (f - e) / 6
        ventral = np.array([-ruler[1], ruler[0]]) * np.sign(ruler[0])
        end = a - film.parameters["bifurcation"] * ruler - film.parameters["trachea_radius"] * ventral
        darker += grey(film, end, 1) < grey(film, a + ventral, 1)
    assert darker >= 0.85 * len(films)


def test_the_spine_is_denser_than_the_lung_below_it(films):
    denser = 0
    for film in films:
        e, f = film.key_points.xy[4:]
        ruler = (f - e) / 6
        ventral = np.array([-ruler[1], ruler[0]]) * np.sign(ruler[0])
        steps = np.linspace(0.1, 0.9, 30)
        body = [grey(film, e + share * (f - e) - 0.2 * ventral, 0) for share in steps]
        below = [grey(film, e + share * (f - e) + 0.8 * ventral, 0) for share in steps]
        denser += np.mean(body) > np.mean(below) + 10
    assert denser >= 0.9 * len(films)


def test_the_denser_tissue_leaves_less_of_the_beam():
    exposure = examine(1, 1, fixed={"scatter": 0.0, "heel": 0.0, "tilt": 0.0, "grid_lines": 0.0}).exposure
    ramp = np.tile(np.linspace(0.0, 4.0, 64, dtype=np.float32), (64, 1))
    empty = np.zeros_like(ramp)
    shown = {
        name: expose(tissue, 1.5, 4.0, exposure, np.random.default_rng(0)).mean(axis=0)
        for name, tissue in {
            "soft": Tissue(ramp, empty, empty),
            "fat": Tissue(empty, ramp, empty),
            "bone": Tissue(empty, empty, ramp),
        }.items()
    }
    for density in shown.values():
        assert density[0] == pytest.approx(0.0, abs=0.02)
        assert (np.diff(density) > 0).all()
    assert (shown["bone"][8:] > shown["soft"][8:]).all()
    assert (shown["soft"][8:] > shown["fat"][8:]).all()


def test_a_film_uses_the_grey_scale(films):
    for film in films:
        assert film.pixels.min() < 40
        assert film.pixels.max() > 150
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
        ({"bits": 7}, "bits"),
        ({"bits": 17}, "bits"),
        ({"breed": "poodle"}, "breed"),
        ({"view": "VD"}, "view"),
        ({"fixed": {"no such thing": 1.0}}, "fixed"),
        ({"fixed": {"fat": float("nan")}}, "fixed"),
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


def test_on_plain_films_only_the_dogs_differ() -> None:
    film = plain_film()
    one, other = (draw(7, index, fixed=film, **SMALL_IMAGE) for index in (1, 2))
    for name, number in film.items():
        assert (one.parameters[name], other.parameters[name]) == (number, number)
    differing = {name for name in one.parameters if one.parameters[name] != other.parameters[name]}
    assert len(differing) > 20
    assert not {"marker", "gamma", "softness", "ruler_share", "microchip"} & differing
