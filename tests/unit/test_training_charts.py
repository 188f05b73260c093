"""Charts are well-formed, show what they were given where it belongs, and let no text become markup."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from canicor.bundle import Metric
from training.experiments import charts

SVG = "{http://www.w3.org/2000/svg}"


def parsed(drawing: str) -> ET.Element:
    return ET.fromstring(str(drawing).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))  # noqa: S314 - our own


def texts(drawing: str) -> list[str]:
    return [one.text or "" for one in parsed(drawing).iter(f"{SVG}text")]


def metric(value: float, lower: float, upper: float) -> Metric:
    return Metric(value=value, lower=lower, upper=upper, count=9)


def test_points_lie_within_their_intervals_in_the_order_of_their_values() -> None:
    dots = [
        charts.Dot("low", metric(20, 10, 40)),
        charts.Dot("high", metric(60, 50, 90), other=70),
    ]
    drawn = parsed(charts.intervals(dots, "accuracy, %", at=33))
    low, high = (float(one.get("cx", "nan")) for one in drawn.iter(f"{SVG}circle"))
    spans = [
        (float(one.get("x1", "")), float(one.get("x2", "")))
        for one in drawn.iter(f"{SVG}line")
        if one.get("class") == "mark"
    ]
    assert spans[0][0] < low < spans[0][1]
    assert spans[1][0] < high < spans[1][1]
    (line,) = (float(one.get("x1", "")) for one in drawn.iter(f"{SVG}line") if one.get("class") == "threshold")
    assert low < line < high
    assert len([one for one in drawn.iter(f"{SVG}path") if one.get("class") == "other"]) == 1


def test_names_are_text_and_never_markup() -> None:
    drawn = charts.intervals([charts.Dot("<script>&", metric(1, 0, 2))], "x")
    assert "<script>&" in texts(drawn)
    assert not list(parsed(drawn).iter(f"{SVG}script"))


def test_one_figure_without_a_width_can_be_drawn() -> None:
    assert "alone" in texts(charts.intervals([charts.Dot("alone", metric(0, 0, 0))], "x", at=0.0))


def test_a_falling_loss_falls() -> None:
    (line,) = parsed(charts.curves({"run": [2.0, 1.0, 0.5], "none": []}, "loss", "epoch")).iter(f"{SVG}polyline")
    places = [tuple(map(float, one.split(","))) for one in line.get("points", "").split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    # Down the page is more.
    assert [y for _, y in places] == sorted(y for _, y in places)


def test_the_confusion_counts_and_shares() -> None:
    drawn = texts(charts.confusion(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])))
    numbers = [one for one in drawn if one.isdigit()]
    assert numbers == ["1", "1", "0", "0", "1", "0", "1", "0", "2"]
    assert "67%" in drawn


def test_reliability_has_a_bar_for_each_bin_that_has_images() -> None:
    drawn = parsed(charts.reliability(np.array([0.35, 0.95, 0.97, 1.0]), np.array([False, True, True, False])))
    bars = [one for one in drawn.iter(f"{SVG}rect") if one.get("class") == "bar"]
    assert len(bars) == 2
    assert float(bars[1].get("height", "")) > float(bars[0].get("height", ""))


def test_bland_altman_states_bias_and_limits() -> None:
    stated = np.array([8.0, 9.0, 10.0, 11.0])
    drawn = texts(charts.bland_altman(stated, stated + np.array([0.0, 0.2, 0.0, 0.2])))
    assert "bias +0.10" in drawn
    assert {"+0.30", "-0.10"} <= set(drawn)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-63.2, 70.1), (7.999, 8.001), (0.0, 12345.0)])
def test_ticks_are_few_and_round(low: float, high: float) -> None:
    drawn = charts.intervals([charts.Dot("", metric((low + high) / 2, low, high))], "x")
    ticks = [one for one in parsed(drawn).iter(f"{SVG}line") if one.get("class") == "grid"]
    assert 2 <= len(ticks) <= 8
