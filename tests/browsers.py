"""A real browser, and a labeller who sits before it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, expect, sync_playwright

from canicor.vhs import KEY_POINT_NAMES, KeyPoints
from tests.clinics import token_of
from tests.servers import Server

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

_WINDOW = {"width": 1280, "height": 900}
# Milliseconds: other tests want the machine too.
_PATIENCE = 60_000


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    """Chromium as it is without a graphics card, but for WebGL, which is computed; as root there is no sandbox."""
    arguments = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader"]
    running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
    yield running
    running.close()


# Not for the session: as long as it is there an event loop runs, and other tests want one of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("There is no Chromium: `apt-get install chromium` brings one.")
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright, launched(playwright) as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Iterator[BrowserContext]:
    """A browser's memory of its own: what a tab left is there for the next one."""
    with browser.new_context(viewport=_WINDOW) as context:
        context.set_default_timeout(_PATIENCE)
        yield context


@dataclass
class Labeller:
    """Somebody at the page, who counts what he does.

    Attributes:
        page: What he sees.
        actions: Clicks, drags and key presses.
    """

    page: Page
    actions: int = field(default=0)

    @classmethod
    def sits_down(
        cls, visit: BrowserContext, server: Server, person: str = "anna", view: str = "label"
    ) -> "Labeller":
        """Opens the page, signed in."""
        visit.add_init_script(f"localStorage.setItem('canicor-token', '{token_of(person)}')")
        page = visit.new_page()
        page.goto(f"http://{server.page_address}/#project=hearts&view={view}")
        expect(page.locator("#desk, #dashboard").filter(visible=True)).to_have_count(1)
        return cls(page)

    @property
    def step(self) -> Locator:
        return self.page.locator("#step")

    def waits_for(self, step: str) -> None:
        expect(self.step).to_have_text(re.compile(step))

    def on_screen(self, xy: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Where pixels of a whole image are seen: the page fits it into the stage and centres it."""
        stage, scale = self.stage, self.zoom(width, height)
        left = stage["x"] + (stage["width"] - scale * width) / 2
        top = stage["y"] + (stage["height"] - scale * height) / 2
        return np.array([left, top]) + scale * (np.asarray(xy) + 0.5)

    def zoom(self, width: int, height: int) -> float:
        """How large a pixel of a whole image is on the screen."""
        return min(self.stage["width"] / width, self.stage["height"] / height)

    @property
    def stage(self) -> dict[str, float]:
        """Where the radiograph is shown."""
        box = self.page.locator("#stage").bounding_box()
        assert box is not None
        return dict(box)

    def clicks(self, place: NDArray[np.float64]) -> None:
        self.actions += 1
        self.page.mouse.click(*place)

    def drags(self, start: NDArray[np.float64], by: tuple[float, float], button: str = "left") -> None:
        self.actions += 1
        end = start + np.array(by)
        self.page.mouse.move(*start)
        self.page.mouse.down(button=button)
        self.page.mouse.move(*((start + end) / 2))
        self.page.mouse.move(*end)
        self.page.mouse.up(button=button)

    def presses(self, key: str) -> None:
        self.actions += 1
        self.page.keyboard.press(key)

    def saves_by_mouse(self) -> None:
        self.actions += 1
        self.page.get_by_role("button", name="Save").click()

    def places(self, points: KeyPoints, width: int, height: int) -> None:
        """Clicks all six."""
        for name, place in zip(KEY_POINT_NAMES, self.on_screen(points.xy, width, height), strict=True):
            self.waits_for(f"Place {name}")
            self.clicks(place)
        self.waits_for("All placed")

    def points(self) -> dict[str, tuple[float, float]]:
        """What is on the screen, in pixels of the image, by what a screen reader is told."""
        self.page.evaluate("new Promise(requestAnimationFrame)")
        found = {}
        for mark in self.page.locator(".mark[visibility=visible]").all():
            name, x, y = re.fullmatch(
                r"(\w), .*, at (\S+), (\S+)", mark.get_attribute("aria-label") or ""
            ).groups()
            found[name] = (float(x), float(y))
        return found
