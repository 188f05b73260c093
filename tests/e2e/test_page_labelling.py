"""Labelling in a real browser, on a real server: points, drafts, what is lost on the way, rejects."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Request, Route, expect

from canicor.client import Classifier
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import key_points_from
from canicor.model_repository import ModelRepository
from tests import toy_models
from tests.browsers import Labeller
from tests.clinics import Clinic
from tests.films import (
    HEIGHT,
    NEAR,
    WIDTH,
    all_delivered,
    film,
    hand_in,
    labels,
)
from tests.servers import until


def test_ten_images_by_mouse_alone(clinic: Clinic, visit: BrowserContext) -> None:
    films = hand_in(clinic, 10)
    anna = Labeller.sits_down(visit, clinic.server)
    for one in films:
        anna.places(one.points, WIDTH, HEIGHT)
        anna.saves_by_mouse()
    assert anna.actions <= 7 * len(films)
    for label, one in zip(all_delivered(clinic, anna, 10), films, strict=True):
        assert np.abs(key_points_from(label.key_points).xy - one.points.xy).max() <= NEAR
        assert (label.labeller, label.suggestion_shown, label.suggested_by) == ("anna", False, "")
        assert label.time_spent.ToMilliseconds() > 0


def test_ten_images_by_keyboard_and_the_model_s_points_alone(
    serve: Callable, repository: ModelRepository, tokens_file: Path, visit: BrowserContext
) -> None:
    # The model has every heart where the first film's is.
    shrunk = np.array([toy_models.WIDTH / WIDTH, toy_models.HEIGHT / HEIGHT])
    found = shrunk * (film(0).points.xy + 0.5) - 0.5
    toy_models.push(repository, toy_models.keypoints_model(found))
    classifier = serve("classifier")
    address = classifier.address
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file), CANICOR_CLASSIFIER_ADDRESS=address)
    clinic = Clinic(server, server.home)
    clinic("mia", "SetProject", project=pb.Project(name="hearts", suggestions=True))
    hand_in(clinic, 10)
    until(lambda: clinic.metric('canicor_suggestions_total{answer="points"}') == 10)
    with Classifier(classifier.client_settings()) as model:
        model_s = key_points_from(model.classify(film(0).content).key_points).xy

    anna = Labeller.sits_down(visit, server)
    for number in range(10):
        anna.waits_for("All placed")
        before = anna.actions
        if number % 2:
            # Once more in the middle of the vertebra, as it were: a step to the left, and a fine one up.
            for key in ("e", "ArrowLeft", "Shift+ArrowUp"):
                anna.presses(key)
            expect(anna.page.locator("[data-point=E]")).to_have_attribute(
                "aria-label", re.compile(re.escape(f"{model_s[4, 1] - 0.25:.1f}") + "$")
            )
        anna.presses("Enter")
        assert anna.actions - before == (4 if number % 2 else 1)
        expect(anna.page.locator("#progress")).to_contain_text(f"today {number + 1}")
    step = max(1.0, 1 / anna.zoom(WIDTH, HEIGHT))
    moved = np.array([[0, 0]] * 4 + [[-step, -0.25], [0, 0]])
    for number, label in enumerate(all_delivered(clinic, anna, 10)):
        expected = model_s + (moved if number % 2 else 0)
        assert np.abs(key_points_from(label.key_points).xy - expected).max() <= NEAR
        assert (label.suggestion_shown, label.suggested_by) == (True, "vhs-keypoints/1")
    clinic.close()


def test_undo_and_redo_restore_exactly(clinic: Clinic, visit: BrowserContext) -> None:
    (one,) = hand_in(clinic, 1)
    anna = Labeller.sits_down(visit, clinic.server)
    states = [{}]
    for name, place in zip("ABCDEF", anna.on_screen(one.points.xy, WIDTH, HEIGHT), strict=True):
        anna.waits_for(f"Place {name}")
        anna.clicks(place)
        states.append(anna.points())
    a, d = anna.on_screen(one.points.xy[[0, 3]], WIDTH, HEIGHT)
    for start, by in ((a, (25, 10)), (d, (12, -8))):
        anna.drags(start, by)
        states.append(anna.points())
    for key in ("ArrowLeft", "Shift+ArrowUp"):
        anna.presses(key)
        states.append(anna.points())
    assert len({str(state) for state in states}) == len(states), "each step changed something"
    for state in reversed(states[:-1]):
        anna.presses("Control+z")
        assert anna.points() == state
    expect(anna.page.get_by_role("button", name="Undo")).to_be_disabled()
    for state in states[1:]:
        anna.presses("y")
        assert anna.points() == state


def test_the_short_axis_stays_perpendicular_unless_it_is_freed(clinic: Clinic, visit: BrowserContext) -> None:
    (one,) = hand_in(clinic, 1)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.places(one.points, WIDTH, HEIGHT)
    remark = anna.page.locator("#remarks")

    def angle() -> float:
        found = {name: np.array(point) for name, point in anna.points().items()}
        long, short = found["B"] - found["A"], found["D"] - found["C"]
        return float(np.degrees(np.arccos(long @ short / np.linalg.norm(long) / np.linalg.norm(short))))

    a, b, d = anna.on_screen(one.points.xy[[0, 1, 3]], WIDTH, HEIGHT)
    anna.drags(b, (40, 0))
    assert angle() == pytest.approx(90, abs=0.1)
    anna.drags(d, (0, 30))
    assert angle() == pytest.approx(90, abs=0.1)
    expect(remark).to_have_text("")
    anna.page.keyboard.down("Alt")
    anna.drags(a, (-60, 0))
    anna.page.keyboard.up("Alt")
    assert abs(angle() - 90) > 5
    expect(remark).to_contain_text("off the perpendicular")


def test_a_tab_that_is_closed_while_it_saves_loses_nothing(clinic: Clinic, visit: BrowserContext) -> None:
    films = hand_in(clinic, 3)
    anna = Labeller.sits_down(visit, clinic.server)
    visit.route("**/api/SubmitLabel", lambda route: None)
    for one in films[:2]:
        anna.places(one.points, WIDTH, HEIGHT)
        anna.presses("Enter")
    third = anna.on_screen(films[2].points.xy, WIDTH, HEIGHT)
    anna.waits_for("Place A")
    anna.clicks(third[0])
    anna.waits_for("Place B")
    anna.clicks(third[1])
    anna.waits_for("Place C")
    half = anna.points()
    # What is on its way then may arrive or not.
    anna.page.close()

    visit.unroute("**/api/SubmitLabel")
    again = Labeller.sits_down(visit, clinic.server)
    again.waits_for("Place C")
    assert again.points() == half, "what was placed is still there"
    for place in third[2:]:
        again.clicks(place)
    again.waits_for("All placed")
    again.presses("Enter")
    for label, one in zip(all_delivered(clinic, again, 3), films, strict=True):
        assert np.abs(key_points_from(label.key_points).xy - one.points.xy).max() <= NEAR


def test_an_answer_that_is_lost_on_its_way_makes_no_second_label(clinic: Clinic, visit: BrowserContext) -> None:
    (one,) = hand_in(clinic, 1)
    lost = []

    def lose(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort()

    visit.route("**/api/SubmitLabel", lose)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.places(one.points, WIDTH, HEIGHT)
    anna.presses("Enter")
    delivery = anna.page.locator("#delivery")
    expect(delivery).to_contain_text("Offline: 1")
    expect(delivery).to_be_empty()
    assert lost == [200]
    all_delivered(clinic, anna, 1)
    expect(anna.page.locator("#problems")).to_be_empty()


def test_a_second_tab_waits_until_the_first_is_closed(clinic: Clinic, visit: BrowserContext) -> None:
    hand_in(clinic, 2)
    first = Labeller.sits_down(visit, clinic.server)
    first.waits_for("Place A")
    second = Labeller.sits_down(visit, clinic.server)
    expect(second.page.locator("#empty")).to_contain_text("another tab")
    first.page.close()
    second.waits_for("Place A")


def test_work_goes_on_without_the_server(clinic: Clinic, visit: BrowserContext) -> None:
    films = hand_in(clinic, 5)
    fetched: list[Request] = []
    visit.on("requestfinished", lambda request: fetched.append(request) if "/pixels" in request.url else None)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.places(films[0].points, WIDTH, HEIGHT)
    while len(fetched) < len(films):
        visit.wait_for_event("requestfinished")
    visit.set_offline(True)
    anna.presses("Enter")
    for one in films[1:]:
        anna.places(one.points, WIDTH, HEIGHT)
        anna.presses("Enter")
    expect(anna.page.locator("#delivery")).to_contain_text("Offline: 5")
    assert labels(clinic) == []
    visit.set_offline(False)
    expect(anna.page.locator("#delivery")).to_be_empty()
    assert len(all_delivered(clinic, anna, 5)) == 5


def test_a_label_that_the_service_refuses_is_told(clinic: Clinic, visit: BrowserContext) -> None:
    films = hand_in(clinic, 2)
    anna = Labeller.sits_down(visit, clinic.server)
    refusal = {"code": "FAILED_PRECONDITION", "reason": "LEASE_EXPIRED", "message": "The lease is over."}
    visit.route("**/api/SubmitLabel", lambda route: route.fulfill(status=400, json=refusal))
    anna.places(films[0].points, WIDTH, HEIGHT)
    anna.presses("Enter")
    expect(anna.page.locator("#problems")).to_contain_text("refused: The lease is over.")


def test_an_image_is_rejected_by_keyboard(clinic: Clinic, visit: BrowserContext) -> None:
    hand_in(clinic, 2)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.waits_for("Place A")
    anna.presses("x")
    anna.presses("2")
    expect(anna.page.locator("#reject")).to_be_hidden()
    expect(anna.page.locator("#progress")).to_contain_text("today 1")
    anna.waits_for("Place A")
    anna.presses("x")
    anna.presses("4")
    expect(anna.page.locator("#reject")).to_be_visible()  # Something else wants a remark.
    anna.page.get_by_label("Remark").fill("two dogs")
    anna.page.get_by_role("button", name="Something else").click()
    first, second = all_delivered(clinic, anna, 2)
    assert first.reject_reason == pb.REJECT_REASON_NOT_LATERAL
    assert (second.reject_reason, second.comment) == (pb.REJECT_REASON_OTHER, "two dogs")
