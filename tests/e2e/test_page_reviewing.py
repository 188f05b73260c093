"""Reviewing and the dashboard in a real browser, on a real server."""

import re

import numpy as np
from playwright.sync_api import BrowserContext, expect

from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import key_points_from
from tests.browsers import Labeller
from tests.clinics import Clinic
from tests.films import (
    HEIGHT,
    NEAR,
    WIDTH,
    by_two,
    hand_in,
    labels,
)


def test_a_reviewer_decides_approves_corrects_and_sends_back(clinic: Clinic, visit: BrowserContext) -> None:
    films = by_two(clinic)
    rita = Labeller.sits_down(visit, clinic.server, "rita", "review")
    rita.waits_for("Labels disagree")
    assert rita.page.locator(".other[visibility=visible]").count() == 2, "both labels are seen"
    expect(rita.page.locator("#remarks")).to_contain_text("anna: VHS")
    apex, truth = rita.on_screen(np.array([rita.points()["B"], films[1].points.xy[1]]), WIDTH, HEIGHT)
    rita.drags(apex, tuple(truth - apex))
    rita.presses("Enter")

    rita.waits_for("anna's label: approve it")
    rita.presses("Enter")
    rita.waits_for("ben's label")
    (apex,) = rita.on_screen(np.array([rita.points()["B"]]), WIDTH, HEIGHT)
    rita.drags(apex, (0, 3))
    rita.presses("Enter")
    rita.waits_for("anna's label")
    rita.presses("x")
    rita.page.get_by_label("Why?").fill("the apex lies further off")
    rita.page.keyboard.press("Enter")
    rita.waits_for("ben's label")
    rita.presses("h")
    past = rita.page.get_by_role("dialog", name="History of this image")
    expect(past.get_by_role("listitem")).to_have_text(
        [
            re.compile("anna: VHS"),
            re.compile("rita sent anna's label back: “the apex lies further"),
            re.compile("ben: VHS"),
        ]
    )
    rita.page.keyboard.press("Escape")
    found = {(one.labeller, films_index(clinic, one)): one for one in labels(clinic)}
    decision = found["rita", 1]
    assert decision.adjudication
    assert np.abs(key_points_from(decision.key_points).xy[1] - films[1].points.xy[1]).max() <= NEAR
    states = [found[who, number].review_state for number in (0, 2) for who in ("anna", "ben")]
    assert states == [
        pb.REVIEW_STATE_APPROVED,
        pb.REVIEW_STATE_CORRECTED,
        pb.REVIEW_STATE_SENT_BACK,
        pb.REVIEW_STATE_PENDING,
    ]


def films_index(clinic: Clinic, label: pb.Label) -> int:
    """Which image of the project a label is of."""
    ids = list(dict.fromkeys(one.image_id for one in labels(clinic)))
    return ids.index(label.image_id)


def test_a_labeller_is_shown_no_review(clinic: Clinic, visit: BrowserContext) -> None:
    hand_in(clinic, 1)
    anna = Labeller.sits_down(visit, clinic.server, view="review")
    anna.waits_for("Place A")
    assert anna.page.get_by_role("link", name="Review").count() == 0


def test_the_dashboard_shows_what_was_done(clinic: Clinic, visit: BrowserContext) -> None:
    by_two(clinic)
    page = Labeller.sits_down(visit, clinic.server, "mia", "dashboard").page
    expect(page.get_by_role("row", name="disputed: a reviewer has to decide 1")).to_be_visible()
    expect(page.get_by_role("row", name="labelled 2", exact=True)).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("anna, ben 3"))).to_be_visible()
    for title in ("Labels a day", "VHS of the labels", "VHS of ben less that of anna"):
        expect(page.get_by_role("img", name=re.compile(title))).to_be_visible()
    assert page.get_by_role("img", name=re.compile("VHS of ben")).locator("circle").count() == 3
