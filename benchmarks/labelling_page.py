"""How the labelling page feels: `python -m benchmarks.labelling_page [--images N]`.

On a real server, in Chromium without a graphics card, with radiographs of 2500 x 3000 pixels: how many actions an
image takes from scratch, how long from the key that saves until the next image can be worked on, and how many
frames a second are drawn while a point, the image, and the window are dragged. Needs Chromium.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import BrowserContext, sync_playwright

from canicor import phantom
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.vhs import KeyPoints
from tests.browsers import Labeller, launched
from tests.clinics import Clinic, write_tokens
from tests.servers import Server

WIDTH, HEIGHT = 2500, 3000
MILLISECONDS = 4000
MOST_ACTIONS, FEWEST_FRAMES, MOST_MILLISECONDS = 7, 50.0, 100.0

# Told by the page's own clock: when the key went down, and when the next image had been drawn.
_WATCH = """
window.waited = [];
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const began = event.timeStamp;
  const ready = new MutationObserver(() => {
    if (!document.querySelector("#step").textContent.startsWith("Place A")) return;
    ready.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => window.waited.push(performance.now() - began)));
  });
  ready.observe(document.querySelector("#step"), { childList: true, characterData: true, subtree: true });
}, { capture: true });
"""
# A browser hands on where the mouse is before each frame; Playwright's mouse would wait for the page each time.
# Counted are frames in which something was drawn.
_DRAG = """
async ([x, y, milliseconds]) => {
  const stage = document.querySelector("#stage");
  const { drawArrays } = WebGL2RenderingContext.prototype;
  const drawn = [];
  WebGL2RenderingContext.prototype.drawArrays = function (...all) {
    drawn.push(document.timeline.currentTime);
    return drawArrays.apply(this, all);
  };
  const began = performance.now();
  await new Promise((resolve) => {
    const move = () => {
      const angle = (performance.now() - began) / 300;
      const place = { clientX: x + 60 * Math.sin(angle), clientY: y + 60 * (1 - Math.cos(angle)) };
      stage.dispatchEvent(new PointerEvent("pointermove", { pointerId: 1, pointerType: "mouse", ...place }));
      if (performance.now() - began < milliseconds) requestAnimationFrame(move);
      else resolve();
    };
    requestAnimationFrame(move);
  });
  WebGL2RenderingContext.prototype.drawArrays = drawArrays;
  return [...new Set(drawn)];
}
"""


def film(index: int) -> tuple[bytes, KeyPoints]:
    one = phantom.draw(11, index, width=WIDTH, height=HEIGHT, bits=16)
    file = io.BytesIO()
    Image.fromarray(one.pixels).save(file, "PNG", compress_level=1)
    return file.getvalue(), one.key_points


def frames(labeller: Labeller, button: str, start: np.ndarray) -> float:
    """Drags in circles, and returns the frames drawn in a second."""
    page = labeller.page
    page.mouse.move(*start)
    page.mouse.down(button=button)
    times = page.evaluate(_DRAG, [*start, MILLISECONDS])
    page.mouse.up(button=button)
    return 1000 * (len(times) - 1) / (times[-1] - times[0])


def measured(visit: BrowserContext, server: Server, films: list[tuple[bytes, KeyPoints]]) -> bool:
    anna = Labeller.sits_down(visit, server)
    anna.waits_for("Place A")
    anna.page.evaluate(f"(() => {{ {_WATCH} }})()")
    actions = []
    for _, points in films[:-1]:
        before = anna.actions
        anna.places(points, WIDTH, HEIGHT)
        anna.presses("Enter")
        actions.append(anna.actions - before)
        anna.waits_for("Place A")
    print(f"actions an image, from scratch: {max(actions)}")
    waited = np.array(anna.page.evaluate("window.waited"))
    p50, p90 = np.percentile(waited, [50, 90])
    print(f"save to next image ready: p50 {p50:.0f} ms, p90 {p90:.0f} ms ({len(waited)} images)")

    points = films[-1][1]
    anna.places(points, WIDTH, HEIGHT)
    apex, outside = anna.on_screen(np.array([points.xy[1], (300, 300)]), WIDTH, HEIGHT)
    rates = {
        "a point": frames(anna, "left", apex),
        "the image": frames(anna, "left", outside),
        "the window": frames(anna, "right", outside),
    }
    anna.page.keyboard.press("0")
    anna.page.mouse.move(*apex)
    anna.page.mouse.wheel(0, -1500)
    rates["the image, enlarged"] = frames(anna, "left", outside)
    for what, rate in rates.items():
        print(f"dragging {what}: {rate:.0f} frames a second")
    slow = p50 > MOST_MILLISECONDS or min(rates.values()) < FEWEST_FRAMES
    return not (slow or max(actions) > MOST_ACTIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the labelling page.")
    parser.add_argument("--images", type=int, default=12, help="default: %(default)s")
    arguments = parser.parse_args()
    films = [film(index) for index in range(arguments.images)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server = Server(
            "labeling", home / "home", {"CANICOR_TOKENS_FILE": str(write_tokens(home / "tokens.toml"))}, {}
        ).start()
        clinic = Clinic(server, server.home)
        try:
            for content, _ in films:
                clinic("mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=content)])
            with sync_playwright() as playwright, launched(playwright) as browser:
                fine = measured(browser.new_context(viewport={"width": 1280, "height": 900}), server, films)
        finally:
            clinic.close()
            server.stop()
    sys.exit(not fine)


if __name__ == "__main__":
    main()
