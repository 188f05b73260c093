"""What is stated as 90 % holds for 90 % of new images."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import binom

from canicor.bundle import ModelKind
from canicor.model_input import Placement, Prepared
from canicor.radiograph import View
from canicor.vhs import HEART_SIZES, HeartSize, class_probabilities, heart_size
from services.classifier.answer import Answer, Output, answer
from tests.hearts import heart
from tests.toy_models import info
from training import calibration

SAME = Placement((1.0, 1.0), (0.0, 0.0))
RADIOGRAPH = Prepared(np.zeros((600, 600), np.uint8), SAME, (600, 600), (1.0, 1.0), View.UNKNOWN)


def said(output: Output, **bundle: object) -> Answer:
    return answer(output, info(**bundle), RADIOGRAPH)


def sets(probabilities: np.ndarray, limit: float) -> list[tuple[HeartSize, ...]]:
    """What the server answers with a limit for probabilities [N, 3]."""
    return [
        said(Output(probabilities=one), kind=ModelKind.CLASSIFIER, set_probability=limit).prediction_set
        for one in probabilities.astype(np.float32)
    ]


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [count, 3] and classes drawn from them."""
    probabilities = softmax(rng.normal(0, 1.5, (count, 3)), axis=1)
    classes = (probabilities.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return probabilities, classes


class TestConformalQuantile:
    def test_is_the_rank_that_the_theory_names(self) -> None:
        # ceil(0.9 x (99 + 1)) = 90th of 99.
        assert calibration.conformal_quantile(np.arange(1.0, 100.0)[::-1]) == 90.0

    def test_too_few_scores_say_nothing(self) -> None:
        # Rank 9 of 8; the ninth of 9.
        assert calibration.conformal_quantile(np.arange(8.0)) == math.inf
        assert calibration.conformal_quantile(np.arange(9.0)) == 8.0

    @pytest.mark.parametrize("count", [9, 30, 120])
    def test_covers_what_it_states_and_no_more_than_it_must(self, count: int) -> None:
        # Exchangeable: each trial draws its own split and one new image. Between 0.9 and 0.9 + 1 / (n + 1).
        rng, trials = np.random.default_rng(count), 4000
        scores = rng.exponential(size=(trials, count + 1))
        covered = sum(one[-1] <= calibration.conformal_quantile(one[:-1]) for one in scores)
        rank = math.ceil((count + 1) * calibration.COVERAGE)
        lower, upper = binom.interval(0.999, trials, rank / (count + 1))
        assert lower <= covered <= upper


class TestSets:
    def test_cover_what_they_state_as_the_server_forms_them(self) -> None:
        rng, trials, count = np.random.default_rng(0), 1500, 120
        covered, sizes = 0, 0
        for _ in range(trials):
            probabilities, classes = drawn(rng, count + 1)
            limit = calibration.set_probability(probabilities[:-1], classes[:-1])
            (found,) = sets(probabilities[-1:], limit)
            covered += HEART_SIZES[classes[-1]] in found
            sizes += len(found)
        # Without randomisation they cover more than is stated, never less.
        assert covered >= binom.ppf(0.001, trials, calibration.COVERAGE)
        assert sizes / trials < 2.5

    def test_cover_it_too_where_the_temperature_was_fitted_on_the_same_images(self) -> None:
        rng, trials, count = np.random.default_rng(1), 600, 60
        covered = 0
        for _ in range(trials):
            probabilities, classes = drawn(rng, count + 1)
            logits = 3 * np.log(probabilities)
            temperature = calibration.fit_temperature(logits[:-1], classes[:-1])
            calibrated = softmax(logits / temperature, axis=1)
            limit = calibration.set_probability(calibrated[:-1], classes[:-1])
            (found,) = sets(calibrated[-1:], limit)
            covered += HEART_SIZES[classes[-1]] in found
        assert covered >= binom.ppf(0.001, trials, calibration.COVERAGE)

    def test_cover_it_where_every_image_has_equals(self) -> None:
        # Two classes share the first place on all images: which of them is right is chance.
        rng = np.random.default_rng(2)
        probabilities = np.tile([0.45, 0.45, 0.1], (2000, 1))
        classes = rng.choice(3, 2000, p=[0.485, 0.485, 0.03])
        limit = calibration.set_probability(probabilities[:1000], classes[:1000])
        found = sets(probabilities[1000:], limit)
        covered = sum(HEART_SIZES[right] in one for right, one in zip(classes[1000:], found, strict=True))
        assert set(found) == {(HeartSize.SMALL, HeartSize.NORMAL)}
        assert covered >= binom.ppf(0.001, 1000, calibration.COVERAGE)

    def test_hold_every_class_where_the_split_is_too_small(self) -> None:
        probabilities, classes = drawn(np.random.default_rng(3), 8)
        limit = calibration.set_probability(probabilities, classes)
        assert limit == 1.0
        assert sets(np.array([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]), limit) == [tuple(HEART_SIZES)] * 2


class TestVhs:
    @pytest.mark.parametrize("bias", [0.0, 0.4])
    def test_interval_and_class_cover_what_they_state(self, bias: float) -> None:
        rng, trials, count = np.random.default_rng(4), 1500, 120
        inside, in_set = 0, 0
        for _ in range(trials):
            errors, truth = rng.normal(bias, 0.4, count), rng.uniform(7, 12, count + 1)
            sigma = calibration.vhs_sigma(errors)
            probabilities = np.array([class_probabilities(one, sigma) for one in truth[1:] + errors])
            classes = np.array([HEART_SIZES.index(heart_size(one)) for one in truth[1:]])
            output = Output(
                key_points=(heart(truth[0] + rng.normal(bias, 0.4)) * 30 + 150).astype(np.float32),
                peaks=np.ones(6, np.float32),
            )
            found = said(
                output,
                vhs_sigma=sigma,
                vhs_half_width=calibration.vhs_half_width(errors),
                set_probability=calibration.set_probability(probabilities, classes),
            )
            lower, upper = found.vhs_interval
            inside += lower <= truth[0] <= upper
            in_set += heart_size(truth[0]) in found.prediction_set
        lowest, highest = binom.interval(
            0.999, trials, math.ceil(calibration.COVERAGE * (count + 1)) / (count + 1)
        )
        assert lowest <= inside <= highest
        assert in_set >= lowest

    def test_too_few_errors_leave_every_plausible_vhs(self) -> None:
        width = calibration.vhs_half_width(np.full(8, 0.1))
        output = Output(key_points=(heart(9.1) * 30 + 150).astype(np.float32), peaks=np.ones(6, np.float32))
        found = said(output, vhs_half_width=width)
        assert found.vhs_interval[0] <= 4
        assert found.vhs_interval[1] >= 20

    def test_a_bias_counts_as_a_spread_does(self) -> None:
        assert calibration.vhs_sigma(np.array([0.3, -0.3, 0.3, -0.3])) == pytest.approx(0.3)
        assert calibration.vhs_sigma(np.full(4, 0.3)) == pytest.approx(0.3)


class TestTemperature:
    def test_undoes_overconfidence(self) -> None:
        probabilities, classes = drawn(np.random.default_rng(1), 5000)
        assert calibration.fit_temperature(3.0 * np.log(probabilities), classes) == pytest.approx(3.0, rel=0.1)

    def test_makes_the_labels_likelier(self) -> None:
        probabilities, classes = drawn(np.random.default_rng(5), 200)
        logits = 4.0 * np.log(probabilities)
        temperature = calibration.fit_temperature(logits, classes)
        likely = [log_softmax(logits / one, axis=1)[np.arange(200), classes].mean() for one in (1, temperature)]
        assert likely[1] > likely[0]

    def test_a_few_images_all_right_do_not_make_it_certain(self) -> None:
        logits = 2.0 * np.eye(3)[[0, 1, 2, 1]]
        temperature = calibration.fit_temperature(logits, np.array([0, 1, 2, 1]))
        # Laplace: 5 of 7.
        assert softmax(logits / temperature, axis=1).max() == pytest.approx(5 / 7, abs=0.01)


class TestLimits:
    def test_nearly_all_validation_images_pass(self) -> None:
        rng = np.random.default_rng(2)
        peaks, distances = rng.random((500, 6)), rng.random(500)
        # Of 500 the tenth from the end: 10 of 501 refuses less than 2 in 100.
        assert (peaks.min(axis=1) < calibration.smallest_peak(peaks)).sum() == 9
        assert (distances > calibration.largest_distance(distances, distances)).sum() == 9

    def test_the_distance_lies_half_way_to_what_is_strange(self) -> None:
        own, strange = np.linspace(1, 2, 500), np.linspace(8, 9, 500)
        limit = calibration.largest_distance(own, strange)
        assert limit == pytest.approx(4.0, rel=0.02)
        # Fewer than 2 in 100 may lie nearer, and do not draw it in.
        strange[:9] = 2.1
        assert calibration.largest_distance(own, strange) == pytest.approx(limit, rel=0.01)

    def test_where_strange_pictures_lie_as_near_no_more_of_the_own_are_refused(self) -> None:
        own = np.linspace(1, 2, 500)
        among_them = calibration.largest_distance(own, np.linspace(1, 3, 500))
        assert among_them == calibration.largest_distance(own, np.zeros(500))
        assert (own > among_them).sum() == 9

    def test_one_validation_image_that_lies_far_out_does_not_open_the_door(self) -> None:
        distances = np.random.default_rng(3).random(120)
        distances[7] = 100
        assert calibration.largest_distance(distances, distances) < 1

    def test_a_small_split_refuses_what_lies_beyond_all_of_it(self) -> None:
        assert calibration.largest_distance(np.array([3.0, 9.0, 5.0]), np.array([4.0])) == 9
        assert calibration.smallest_peak(np.array([[0.5, 0.2], [0.9, 0.8]])) == 0.2

    @pytest.mark.parametrize("count", [20, 120, 300])
    def test_refuse_as_many_new_images_as_they_state(self, count: int) -> None:
        rng, trials = np.random.default_rng(count), 4000
        scores = rng.exponential(size=(trials, count + 1))
        refused = sum(one[-1] > calibration.largest_distance(one[:-1], one[:-1]) for one in scores)
        share = max(1, math.floor((count + 1) * calibration.REFUSED)) / (count + 1)
        lower, upper = binom.interval(0.999, trials, share)
        assert lower <= refused <= upper
