/** The points, lines and the ruler, drawn over the radiograph. */

import { NAMES, type Name, type Point, type Points, VERTEBRAE, WHERE } from "./geometry.ts";
import type { Lens } from "./picture.ts";
import type { Viewport } from "./viewport.ts";

export interface Handles {
  grabbed(name: Name, event: PointerEvent): void;
  focused(name: Name): void;
}

/** Where somebody else has the points, or a model. */
export interface Other {
  readonly name: string;
  readonly points: Points;
}

export interface Drawn {
  readonly selected: Name | undefined;
  readonly others: readonly Other[];
  readonly measurable: boolean;
  readonly lens: Lens | undefined;
}

const SVG = "http://www.w3.org/2000/svg";
const LINES = ["AB", "CD", "EF"] as const;
const MOST_OTHERS = 9; // ten people may label an image
const TICK = 7;
const RADIUS = 5;
const REACH = 16; // of a finger or a hurried mouse

export class Overlay {
  private readonly lines: Record<string, SVGPathElement>;
  private readonly others: readonly SVGGElement[];
  private readonly marks: Record<Name, SVGGElement>;
  private readonly lens: SVGGElement;

  private readonly root = document.createElementNS(SVG, "svg");

  constructor(stage: HTMLElement, handles: Handles) {
    stage.append(this.root);
    this.others = Array.from({ length: MOST_OTHERS }, (_, index) => this.other(index));
    this.lines = this.paths("line");
    this.lens = this.add("g", { class: "lens" });
    this.add("circle", { class: "rim" }, this.lens);
    this.add("path", { d: "M-9 0H-2M2 0H9M0-9V-2M0 2V9" }, this.lens);
    this.marks = Object.fromEntries(NAMES.map((name) => [name, this.mark(name, handles)])) as typeof this.marks;
    this.clear();
  }

  /** Draws nothing. */
  clear(): void {
    for (const element of this.root.children) element.setAttribute("visibility", "hidden");
  }

  draw(view: Viewport, points: Points, { selected, others, measurable, lens }: Drawn): void {
    for (const line of LINES) {
      this.line(this.lines[line] as SVGPathElement, line, view, points, measurable);
    }
    for (const [index, other] of others.slice(0, MOST_OTHERS).entries()) {
      this.theirs(this.others[index] as SVGGElement, view, other);
    }
    for (const name of NAMES) {
      const point = points[name];
      if (!point) continue;
      const mark = this.marks[name];
      this.place(name, view.toScreen(point));
      mark.setAttribute("aria-label", `${name}, ${WHERE[name]}, at ${point.x.toFixed(1)}, ${point.y.toFixed(1)}`);
      mark.classList.toggle("selected", name === selected);
    }
    if (!lens) return;
    this.lens.setAttribute("visibility", "visible");
    this.lens.setAttribute("transform", `translate(${lens.at.x} ${lens.at.y})`);
    this.lens.firstElementChild?.setAttribute("r", String(lens.radius));
  }

  /** Gives a point the keyboard, and shows it at its place on the screen: what is not seen can't have it. */
  focus(name: Name, at: Point): void {
    this.place(name, at);
    this.marks[name].focus({ preventScroll: true });
  }

  /** Takes the keyboard away from a point. */
  leave(): void {
    for (const mark of Object.values(this.marks)) mark.blur();
  }

  private place(name: Name, { x, y }: Point): void {
    this.marks[name].setAttribute("visibility", "visible");
    this.marks[name].setAttribute("transform", `translate(${x} ${y})`);
  }

  private line(path: SVGPathElement, name: string, view: Viewport, points: Points, ticks: boolean): void {
    const [from, to] = [points[name[0] as Name], points[name[1] as Name]];
    if (!from || !to) return;
    const [start, end] = [view.toScreen(from), view.toScreen(to)];
    path.setAttribute("visibility", "visible");
    path.setAttribute(
      "d",
      `M${start.x} ${start.y}L${end.x} ${end.y}${ticks ? vertebrae(start, end, points, view) : ""}`,
    );
  }

  /** Draws where somebody else has the points. */
  private theirs(group: SVGGElement, view: Viewport, { name, points }: Other): void {
    const [path, text] = group.children;
    const at = (point: Point) => {
      const { x, y } = view.toScreen(point);
      return `${x} ${y}`;
    };
    const lines = LINES.flatMap(([from, to]) => {
      const [start, end] = [points[from as Name], points[to as Name]];
      return start && end ? [`M${at(start)}L${at(end)}`] : [];
    });
    const { A } = points;
    group.setAttribute("visibility", "visible");
    path?.setAttribute("d", lines.join(""));
    if (!text || !A) return;
    text.textContent = name;
    text.setAttribute("transform", `translate(${at(A)})`);
  }

  private other(index: number): SVGGElement {
    const group = this.add("g", { class: `other other-${index % 3}` });
    this.add("path", {}, group);
    // Names stand below one another, for their points nearly coincide.
    this.add("text", { x: "9", y: String(16 + 15 * index) }, group);
    return group;
  }

  private mark(name: Name, handles: Handles): SVGGElement {
    const mark = this.add("g", { class: "mark", tabindex: "0", role: "button", "data-point": name });
    this.add("circle", { class: "reach", r: String(REACH) }, mark);
    this.add("circle", { class: "ring", r: String(RADIUS) }, mark);
    this.add("circle", { class: "dot", r: "1" }, mark);
    this.add("text", { x: "9", y: "-7" }, mark).textContent = name;
    mark.addEventListener("pointerdown", (event) => handles.grabbed(name, event));
    mark.addEventListener("focus", () => handles.focused(name));
    return mark;
  }

  private paths(kind: string): Record<string, SVGPathElement> {
    return Object.fromEntries(LINES.map((line) => [line, this.add("path", { class: `${kind} ${line}` })]));
  }

  private add<Tag extends keyof SVGElementTagNameMap>(
    tag: Tag,
    attributes: Record<string, string>,
    parent: Element = this.root,
  ): SVGElementTagNameMap[Tag] {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    parent.append(element);
    return element;
  }
}

/** Returns ticks along a line, one for each of the dog's vertebrae: what its length is measured by. */
function vertebrae(start: Point, end: Point, points: Points, view: Viewport): string {
  const [top, bottom] = [view.toScreen(points.E as Point), view.toScreen(points.F as Point)];
  const vertebra = Math.hypot(bottom.x - top.x, bottom.y - top.y) / VERTEBRAE;
  const length = Math.hypot(end.x - start.x, end.y - start.y);
  if (vertebra < 2 * RADIUS) return "";
  const [x, y] = [(end.x - start.x) / length, (end.y - start.y) / length];
  let path = "";
  for (let along = vertebra; along < length - 1; along += vertebra) {
    const [across, down] = [start.x + along * x, start.y + along * y];
    path += `M${across - TICK * y} ${down + TICK * x}L${across + TICK * y} ${down - TICK * x}`;
  }
  return path;
}
