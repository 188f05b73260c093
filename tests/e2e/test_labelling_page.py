"""The labelling page in a real browser, on a real server, with radiographs of 2500 x 3000 pixels."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Request, Route, expect

from canicor import phantom
from canicor.client import Classifier
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import key_points_from, key_points_message
from canicor.model_repository import ModelRepository
from canicor.morphometry import implausible
from canicor.vhs import KeyPoints
from tests import toy_models
from tests.browsers import Labeller
from tests.clinics import Clinic
from tests.radiographs import dicom
from tests.servers import until

WIDTH, HEIGHT = 2500, 3000
_SHRUNK = 5
NEAR = 0.5  # pixels


@dataclass(frozen=True)
class Film:
    content: bytes
    points: KeyPoints


def film(index: int, bits: int = 8) -> Film:
    """A phantom, drawn small and enlarged: at its whole size it takes a second."""
    small = phantom.draw(3, index, width=WIDTH // _SHRUNK, height=HEIGHT // _SHRUNK, bits=bits)
    pixels = np.kron(small.pixels, np.ones((_SHRUNK, _SHRUNK), small.pixels.dtype))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return Film(file.getvalue(), KeyPoints.from_array(_SHRUNK * (small.key_points.xy + 0.5) - 0.5))


@pytest.fixture
def clinic(serve: Callable, tokens_file: Path) -> Iterator[Clinic]:
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file))
    people = Clinic(server, server.home)
    yield people
    people.close()


def hand_in(clinic: Clinic, count: int, bits: int = 8) -> list[Film]:
    films = [film(index, bits) for index in range(count)]
    for one in films:
        clinic("mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=one.content)])
    return films


def labels(clinic: Clinic) -> list[pb.Label]:
    return list(clinic("rita", "ListLabels", project="hearts", page_size=1000).labels)


def all_delivered(clinic: Clinic, labeller: Labeller, count: int) -> list[pb.Label]:
    """Waits until the page has nothing left to label, and the service has it all."""
    expect(labeller.page.locator("#empty")).to_contain_text("no image left")
    until(lambda: len(labels(clinic)) >= count)
    found = labels(clinic)
    assert len(found) == count
    return found


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


def test_a_second_tab_leaves_the_images_to_the_first(clinic: Clinic, visit: BrowserContext) -> None:
    hand_in(clinic, 2)
    first = Labeller.sits_down(visit, clinic.server)
    first.waits_for("Place A")
    second = Labeller.sits_down(visit, clinic.server)
    expect(second.page.locator("#empty")).to_contain_text("another tab")
    first.page.close()
    second.page.reload()
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


def seen(labeller: Labeller, width: int, height: int) -> np.ndarray:
    """Returns mean greys [56, 46] of the screen, of an image but for a twenty-fifth or so at its sides."""
    stage = labeller.stage
    corners = np.array([(0.04 * width, height / 30), (0.96 * width, height * 29 / 30)]) - 0.5
    (left, top), (right, bottom) = labeller.on_screen(corners, width, height) - (stage["x"], stage["y"])
    shot = Image.open(io.BytesIO(labeller.page.locator("#stage").screenshot())).convert("L")
    return np.asarray(shot.resize((46, 56), Image.Resampling.BOX, box=(left, top, right, bottom)), np.float64)


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """Returns the means of an image's pixels that `seen` ought to find."""
    height, width = pixels.shape
    inner = pixels[height // 30 : height * 29 // 30, width // 25 : width * 24 // 25]
    return inner.reshape(56, inner.shape[0] // 56, 46, inner.shape[1] // 46).mean((1, 3))


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_seen_is_what_the_image_holds(clinic: Clinic, visit: BrowserContext, bits: int) -> None:
    (one,) = hand_in(clinic, 1, bits)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.waits_for("Place A")
    anna.page.mouse.move(2, 2)
    pixels = np.asarray(Image.open(io.BytesIO(one.content)), np.float64)
    low, high = (0, 255) if bits == 8 else (pixels.min(), pixels.max())
    expected = 255 * (pixels - low) / (high - low)

    truth = shrunk(expected)

    def shows(greys: np.ndarray) -> bool:
        return bool(np.abs(seen(anna, WIDTH, HEIGHT) - greys).mean() < 2)

    until(lambda: shows(truth))
    anna.presses("i")
    until(lambda: shows(255 - truth))
    anna.presses("0")
    until(lambda: shows(truth))
    stage = anna.stage
    middle = np.array([stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2])
    anna.drags(middle, (-120, 0), button="right")
    anna.page.mouse.move(2, 2)
    narrower = np.clip((truth - 127.5) * 2 ** (120 / 200) + 127.5, 0, 255)
    until(lambda: shows(narrower))


def test_a_dicom_file_s_window_is_where_the_page_begins_and_hides_nothing(
    clinic: Clinic, visit: BrowserContext
) -> None:
    pixels = phantom.draw(3, 0, width=500, height=600, bits=16).pixels >> 4
    low, high = int(pixels.min()), int(pixels.max())
    center, width = low + 0.6 * (high - low), 0.2 * (high - low)
    film = dicom(pixels, WindowCenter=center, WindowWidth=width, VOILUTFunction="LINEAR_EXACT")
    clinic("mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=film)])
    anna = Labeller.sits_down(visit, clinic.server)
    anna.waits_for("Place A")
    anna.page.mouse.move(2, 2)
    shares = (pixels - low) / (high - low)

    def shows(window_width: float) -> bool:
        expected = 255 * np.clip((shares - 0.6) / window_width + 0.5, 0, 1)
        return bool(np.abs(seen(anna, 500, 600) - shrunk(expected)).mean() < 2)

    until(lambda: shows(0.2))
    stage = anna.stage
    middle = np.array([stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2])
    anna.drags(middle, (200, 0), button="right")
    anna.page.mouse.move(2, 2)
    until(lambda: shows(0.4))
    anna.presses("0")
    until(lambda: shows(0.2))


def test_a_point_where_no_heart_has_it_is_remarked(clinic: Clinic, visit: BrowserContext) -> None:
    (one,) = hand_in(clinic, 1)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.places(one.points, WIDTH, HEIGHT)
    remarks = anna.page.locator("#remarks li")
    expect(remarks).to_have_count(0)
    a, f = anna.on_screen(one.points.xy[[0, 5]], WIDTH, HEIGHT)
    anna.page.keyboard.down("Alt")
    anna.drags(a, tuple(f - a))
    anna.page.keyboard.up("Alt")
    expect(remarks.filter(has_text="plausible in a dog")).not_to_have_count(0)
    said = [text for text in remarks.all_inner_texts() if text.endswith("plausible in a dog.")]
    anna.presses("Enter")
    (label,) = all_delivered(clinic, anna, 1)
    assert said == implausible(key_points_from(label.key_points))


def test_zoom_keeps_what_is_under_the_cursor_and_points_where_they_are(
    clinic: Clinic, visit: BrowserContext
) -> None:
    (one,) = hand_in(clinic, 1)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.waits_for("Place A")
    # Wheels turn at whole pixels of the screen.
    place = np.round(anna.on_screen(one.points.xy[:1], WIDTH, HEIGHT)[0])
    (first,) = anna.on_screen(np.zeros((1, 2)), WIDTH, HEIGHT)
    under = (place - first) / anna.zoom(WIDTH, HEIGHT)
    anna.page.mouse.move(*place)
    anna.page.mouse.wheel(0, -800)
    anna.clicks(place)
    anna.waits_for("Place B")
    assert np.abs(np.array(anna.points()["A"]) - under).max() <= NEAR
    before = anna.page.locator("[data-point=A]").bounding_box()
    anna.drags(place + 150, (100, -60))
    after = anna.page.locator("[data-point=A]").bounding_box()
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((100, -60), abs=1)
    assert np.abs(np.array(anna.points()["A"]) - under).max() <= NEAR, "the image was moved, not A"


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


def other_points(points: KeyPoints, by: float) -> KeyPoints:
    """The same with an apex that lies further off, by so many pixels."""
    xy = points.xy.copy()
    xy[1] += by * (xy[1] - xy[0]) / np.linalg.norm(xy[1] - xy[0])
    return KeyPoints.from_array(xy)


def label(clinic: Clinic, person: str, request_id: str, points: KeyPoints) -> pb.Label:
    lease_id = clinic.lease(person).lease_id
    request = {"request_id": request_id, "lease_id": lease_id, "key_points": key_points_message(points)}
    return clinic(person, "SubmitLabel", **request).label


def by_two(clinic: Clinic) -> list[Film]:
    """Three images with two labels each, which agree but for those of the second."""
    clinic("mia", "SetProject", project=pb.Project(name="hearts", labels_per_image=2))
    films = hand_in(clinic, 3)
    for number, (one, apart) in enumerate(zip(films, (5.0, 400.0, 5.0), strict=True)):
        label(clinic, "anna", f"a{number}", one.points)
        label(clinic, "ben", f"b{number}", other_points(one.points, apart))
    return films


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
