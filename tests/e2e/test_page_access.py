"""Who comes to the page: with which token and project, by touch, by a screen reader."""

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, expect

from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import key_points_from
from tests.browsers import Labeller
from tests.clinics import Clinic
from tests.films import (
    HEIGHT,
    NEAR,
    WIDTH,
    all_delivered,
    by_two,
    hand_in,
)


def test_what_the_project_says_is_text_and_no_script(clinic: Clinic, visit: BrowserContext) -> None:
    text = "<img src=x onerror=document.title='run'> <script>document.title='run'</script>"
    clinic("mia", "SetProject", project=pb.Project(name="hearts", guidelines=text))
    hand_in(clinic, 1)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.presses("g")
    expect(anna.page.locator("#guidelines-text")).to_have_text(text)
    expect(anna.page).to_have_title("Canicor labelling")


def test_a_wrong_token_is_told(clinic: Clinic, visit: BrowserContext) -> None:
    page = visit.new_page()
    page.goto(f"http://{clinic.server.page_address}/")
    page.get_by_label("Your token").fill("nobody's")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").first).to_have_text(re.compile("token", re.IGNORECASE))


def test_one_of_several_projects_is_chosen(clinic: Clinic, visit: BrowserContext) -> None:
    clinic("mia", "SetProject", project=pb.Project(name="cats"))
    hand_in(clinic, 1)
    page = visit.new_page()
    page.goto(f"http://{clinic.server.page_address}/")
    page.get_by_label("Your token").fill("token of anna")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="hearts").click()
    Labeller(page).waits_for("Place A")


WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.mark.parametrize(
    ("person", "view", "sign"),
    [("anna", "label", "Place A"), ("rita", "review", "Labels disagree"), ("mia", "dashboard", "Labels a day")],
)
def test_each_view_is_accessible(clinic: Clinic, visit: BrowserContext, person: str, view: str, sign: str) -> None:
    by_two(clinic)
    clinic.add(1)
    page = Labeller.sits_down(visit, clinic.server, person, view).page
    expect(page.get_by_text(sign).first).to_be_visible()
    found = Axe().run(page, options={"runOnly": WCAG})
    assert found.violations_count == 0, found.generate_report()


def test_points_are_placed_by_touch(clinic: Clinic, browser: Browser) -> None:
    (one,) = hand_in(clinic, 1)
    with browser.new_context(viewport={"width": 820, "height": 1180}, has_touch=True) as tablet:
        anna = Labeller.sits_down(tablet, clinic.server)
        for name, place in zip("ABCDEF", anna.on_screen(one.points.xy, WIDTH, HEIGHT), strict=True):
            anna.waits_for(f"Place {name}")
            anna.page.touchscreen.tap(*place)
        anna.waits_for("All placed")
        anna.page.get_by_role("button", name="Save").tap()
        (label,) = all_delivered(clinic, anna, 1)
        # Chromium rounds a tap to whole pixels of the screen.
        finest = 1 / anna.zoom(WIDTH, HEIGHT) + NEAR
    assert np.abs(key_points_from(label.key_points).xy - one.points.xy).max() <= finest


def test_a_project_without_work_says_so(clinic: Clinic, visit: BrowserContext) -> None:
    clinic("mia", "SetProject", project=pb.Project(name="hearts"))
    anna = Labeller.sits_down(visit, clinic.server)
    expect(anna.page.locator("#empty")).to_contain_text("no image left")
    hand_in(clinic, 1)
    anna.waits_for("Place A")
