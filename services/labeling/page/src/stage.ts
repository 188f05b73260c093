/** The radiograph and the six points on it: what is seen, dragged, zoomed and undone. */

import type { Window } from "./api.ts";
import { inside, measure, missing, moved, type Name, type Point, type Points } from "./geometry.ts";
import { History } from "./history.ts";
import type { Levels } from "./levels.ts";
import { type Handles, type Other, Overlay } from "./overlay.ts";
import { Picture } from "./picture.ts";
import { Viewport } from "./viewport.ts";

const LENS = { radius: 80, zoom: 3 };
const WHEEL = 0.0015; // of a doubling of the zoom, for one pixel of the wheel
const FINEST = 0.25; // of a pixel: what Shift and an arrow move by
const WHOLE_RANGE: Window = { centre: 0.5, width: 1 };
const STILL = 4; // screen pixels that a click may slip

type Gesture =
  | { kind: "point"; name: Name; offset: Point }
  | { kind: "press"; from: Point }
  | { kind: "pan"; last: Point }
  | { kind: "window"; last: Point }
  | { kind: "pinch"; distance: number; middle: Point };

export interface Shown {
  readonly levels: Levels;
  /** What is on it at first. */
  readonly points: Points;
}

export class Stage {
  selected: Name | undefined;
  magnifying = true;
  windowing = false;

  private readonly picture: Picture;
  private readonly overlay: Overlay;
  private shown: Shown | undefined;
  private others: readonly Other[] = [];
  private view: Viewport | undefined;
  private history = new History<Points>({});
  private dragged: Points | undefined; // while a point is in the hand
  private window: Window = WHOLE_RANGE;
  private inverted = false;
  private readonly fingers = new Map<number, Point>();
  private gesture: Gesture | undefined;
  private hover: Point | undefined;
  private frame = 0;

  /** @param changed Told when points were placed, moved, undone. */
  constructor(
    private readonly root: HTMLElement,
    private readonly changed: () => void,
  ) {
    const canvas = root.querySelector("canvas") as HTMLCanvasElement;
    this.picture = new Picture(canvas, () => this.redraw());
    const handles: Handles = {
      grabbed: (name, event) => this.grab(name, event),
      focused: (name) => this.select(name),
    };
    this.overlay = new Overlay(root, handles);
    new ResizeObserver(() => this.resize()).observe(root);
    root.addEventListener("pointerdown", (event) => this.press(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    root.addEventListener("pointerup", (event) => this.release(event));
    root.addEventListener("pointercancel", (event) => this.abandon(event));
    root.addEventListener("pointerleave", () => this.point(undefined));
    root.addEventListener("contextmenu", (event) => event.preventDefault());
    root.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  get points(): Points {
    return this.dragged ?? this.history.now;
  }

  /** Whether a point is being dragged. */
  get isDragging(): boolean {
    return this.dragged !== undefined;
  }

  get aspect(): number {
    return this.shown?.levels.aspect ?? 1;
  }

  get canUndo(): boolean {
    return this.history.canUndo;
  }

  get canRedo(): boolean {
    return this.history.canRedo;
  }

  /** Shows an image, whole and in its own greys, and where others have the points; or nothing. */
  show(shown: Shown | undefined, others: readonly Other[] = []): void {
    this.shown = shown;
    this.others = others;
    this.gesture = this.dragged = this.selected = this.view = undefined;
    this.overlay.leave();
    this.history = new History(shown?.points ?? {});
    this.window = shown?.levels.window ?? WHOLE_RANGE;
    this.root.classList.toggle("blank", !shown);
    if (shown) {
      this.picture.show(shown.levels);
      const { width, height, aspect } = shown.levels;
      this.view = new Viewport(width, height, aspect, this.picture.resize());
    }
    this.redraw();
  }

  /** Makes ready what is shown next. */
  prepare(levels: Levels): void {
    this.picture.prepare(levels);
  }

  undo(): void {
    this.history.undo();
    this.settle();
  }

  redo(): void {
    this.history.redo();
    this.settle();
  }

  invert(): void {
    this.inverted = !this.inverted;
    this.redraw();
  }

  /** Shows the whole image in its own greys. */
  reset(): void {
    this.view?.fit();
    this.window = this.shown?.levels.window ?? WHOLE_RANGE;
    this.inverted = false;
    this.redraw();
  }

  /** Whether dragging changes the window, as the right button does; for tablets. */
  toggleWindowing(): void {
    this.windowing = !this.windowing;
  }

  toggleMagnifier(): void {
    this.magnifying = !this.magnifying;
    this.redraw();
  }

  /** Zooms about the cursor, or the middle where it is elsewhere. */
  zoom(factor: number): void {
    this.view?.zoomAt(this.hover ?? this.middle, factor);
    this.redraw();
  }

  /** Selects a point; one that is not placed yet is put under the cursor, or in the middle. */
  choose(name: Name): void {
    if (!this.view) return;
    if (!this.points[name]) this.commit(name, this.view.toImage(this.hover ?? this.middle), false);
    this.focus(name);
  }

  /** Moves the selected point by an arrow key, or the image where none is selected. */
  nudge(x: number, y: number, fine: boolean, free: boolean): void {
    if (!this.view) return;
    const at = this.selected && this.points[this.selected];
    if (!this.selected || !at) {
      this.view.pan(-60 * x, -60 * y);
      this.redraw();
      return;
    }
    const step = fine ? FINEST : Math.max(1, 1 / this.view.zoom);
    this.commit(this.selected, { x: at.x + step * x, y: at.y + (step * y) / this.aspect }, free);
  }

  /** Puts all six points where a model has them, as one step. */
  take(points: Points): void {
    this.history.commit(points);
    this.settle();
  }

  redraw(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  private draw(): void {
    const { view, shown } = this;
    this.overlay.clear();
    if (!view || !shown) return;
    const placing = !this.gesture && missing(this.points) !== undefined;
    const holding = this.gesture?.kind === "point";
    const lens = this.magnifying && this.hover && (placing || holding) ? { at: this.hover, ...LENS } : undefined;
    this.picture.draw(view, this.window, this.inverted, lens);
    this.overlay.draw(view, this.points, {
      selected: this.selected,
      others: this.others,
      measurable: measure(this.points, this.aspect) !== undefined,
      lens,
    });
  }

  private resize(): void {
    this.view?.resize(this.picture.resize());
    this.redraw();
  }

  private focus(name: Name): void {
    const at = this.points[name];
    if (at && this.view) this.overlay.focus(name, this.view.toScreen(at));
    this.select(name);
  }

  private select(name: Name): void {
    this.selected = name;
    this.redraw();
  }

  private commit(name: Name, to: Point, free: boolean): void {
    this.history.commit(this.within(moved(this.points, name, to, this.aspect, free)));
    this.selected = name;
    this.settle();
  }

  private within(points: Points): Points {
    const { width, height } = (this.shown as Shown).levels;
    return inside(points, width, height);
  }

  private settle(): void {
    if (this.selected && !this.points[this.selected]) this.selected = undefined;
    this.redraw();
    this.changed();
  }

  private grab(name: Name, event: PointerEvent): void {
    if (event.button !== 0 || this.windowing || !this.view) return;
    const at = this.view.toScreen(this.points[name] as Point);
    const from = this.place(event);
    this.gesture = { kind: "point", name, offset: { x: at.x - from.x, y: at.y - from.y } };
    this.focus(name);
  }

  private press(event: PointerEvent): void {
    if (!this.view) return;
    const from = this.place(event);
    this.root.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, from);
    if (this.fingers.size === 2) {
      this.dragged = undefined;
      this.gesture = { kind: "pinch", ...this.pinch() };
    } else if (event.button === 2 || (event.button === 0 && this.windowing)) {
      this.gesture = { kind: "window", last: from };
    } else if (event.button === 1) {
      this.gesture = { kind: "pan", last: from };
    } else if (this.gesture?.kind !== "point") {
      this.gesture = { kind: "press", from };
    }
    this.point(event.pointerType === "touch" && this.gesture?.kind !== "point" ? undefined : from);
  }

  private move(event: PointerEvent): void {
    const { view, gesture } = this;
    if (!view) return;
    const at = this.place(event);
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, at);
    if (gesture?.kind === "press" && Math.hypot(at.x - gesture.from.x, at.y - gesture.from.y) > STILL) {
      this.gesture = { kind: "pan", last: gesture.from };
    }
    const now = this.gesture;
    if (now?.kind === "point") {
      const to = view.toImage({ x: at.x + now.offset.x, y: at.y + now.offset.y });
      this.dragged = this.within(moved(this.history.now, now.name, to, this.aspect, event.altKey));
      this.changed();
    } else if (now?.kind === "pan") {
      view.pan(at.x - now.last.x, at.y - now.last.y);
      now.last = at;
    } else if (now?.kind === "window") {
      const width = this.window.width * 2 ** ((at.x - now.last.x) / 200);
      const centre = this.window.centre - ((at.y - now.last.y) / 400) * this.window.width;
      this.window = { width: Math.min(Math.max(width, 0.005), 2), centre: Math.min(Math.max(centre, 0), 1) };
      now.last = at;
    } else if (now?.kind === "pinch") {
      const { distance, middle } = this.pinch();
      view.pan(middle.x - now.middle.x, middle.y - now.middle.y);
      view.zoomAt(middle, distance / now.distance);
      this.gesture = { kind: "pinch", distance, middle };
    }
    this.point(event.pointerType === "touch" && now?.kind !== "point" ? undefined : at);
  }

  private release(event: PointerEvent): void {
    const { gesture, view } = this;
    this.fingers.delete(event.pointerId);
    if (gesture?.kind === "pinch" && this.fingers.size) return;
    this.gesture = undefined;
    const name = missing(this.points);
    if (gesture?.kind === "point" && this.dragged) {
      const { dragged } = this;
      this.dragged = undefined;
      this.history.commit(dragged);
      this.settle();
    } else if (gesture?.kind === "press" && name && view) {
      this.commit(name, view.toImage(gesture.from), event.altKey);
      this.focus(name);
    }
    this.redraw();
  }

  private abandon(event: PointerEvent): void {
    this.fingers.delete(event.pointerId);
    this.gesture = this.dragged = undefined;
    this.redraw();
    this.changed();
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    // A wheel that counts lines moves some 16 pixels for each.
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    this.view?.zoomAt(this.place(event), 2 ** (-pixels * WHEEL));
    this.redraw();
  }

  private point(at: Point | undefined): void {
    this.hover = at;
    this.redraw();
  }

  private pinch(): { distance: number; middle: Point } {
    const [one, other] = [...this.fingers.values()] as [Point, Point];
    const distance = Math.max(Math.hypot(other.x - one.x, other.y - one.y), 1);
    return { distance, middle: { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 } };
  }

  private place(event: MouseEvent): Point {
    const box = this.root.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  private get middle(): Point {
    return { x: this.root.clientWidth / 2, y: this.root.clientHeight / 2 };
  }
}
