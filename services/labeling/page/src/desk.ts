/** The radiograph, what its points say, and the keys: what labelling and reviewing have in common. */

import { type Action, Actions } from "./actions.ts";
import type { Bands } from "./api.ts";
import { deviation, measure, NAMES, WHERE } from "./geometry.ts";
import { implausible } from "./morphometry.ts";
import type { Other } from "./overlay.ts";
import { made, the, view } from "./page.ts";
import type { ProjectJson } from "./protos/canicor/labeling/v1/labeling_pb.ts";
import { type Shown, Stage } from "./stage.ts";

export type Project = ProjectJson & { name: string };

/** What somebody does at the desk. */
export interface Work {
  /** His own, before those that everybody has. */
  actions(): readonly Action[];
  /** What he shall do next. */
  step(): string;
  /** What he should see of these points, beside what anybody should. */
  remarks(): readonly string[];
  /** Told when points were placed, moved, undone. */
  changed(): void;
}

const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

const ASKEW = 5; // degrees off the perpendicular that are worth a remark
const PLAUSIBLE = [4, 20] as const; // vertebrae

export class Desk {
  readonly stage: Stage;
  private readonly actions: Actions;

  constructor(
    private readonly bands: Bands,
    project: Project,
    private readonly work: Work,
  ) {
    this.stage = new Stage(the("#stage"), () => this.changed());
    this.actions = new Actions([...work.actions(), ...this.everybodys()]);
    the("#guidelines-text").textContent = project.guidelines || "This project has no guidelines of its own.";
    the("#where").append(...NAMES.flatMap((name) => [made("dt", {}, name), made("dd", {}, WHERE[name])]));
    the("#bands").textContent = bands.notice;
    view("desk");
  }

  /** Whether all six points are placed, and lines have a length. */
  get isMeasured(): boolean {
    return measure(this.stage.points, this.stage.aspect) !== undefined;
  }

  /** Shows an image with its points, and where others have them. */
  show(shown: Shown, others: readonly Other[]): void {
    this.stage.show(shown, others);
    the("#empty").hidden = true;
    this.refresh();
  }

  /** Shows a sentence in place of an image. */
  empty(text: string): void {
    this.stage.show(undefined);
    the("#empty").textContent = text;
    the("#empty").hidden = false;
    this.refresh();
  }

  /** Tells anew what the points say, and what can be done. */
  refresh(): void {
    the("#step").textContent = this.work.step();
    const found = measure(this.stage.points, this.stage.aspect);
    const said = the("#measurement");
    said.replaceChildren();
    if (found) {
      const axes = `long axis ${found.longAxis.toFixed(1)} + short axis ${found.shortAxis.toFixed(1)} vertebrae`;
      const size = ` ${this.sizeOf(found.vhs)}`;
      said.append(made("strong", {}, `VHS ${found.vhs.toFixed(1)}`), size, made("small", {}, axes));
    }
    const remarks = [...this.remarks(found?.vhs), ...this.work.remarks()];
    the("#remarks").replaceChildren(...remarks.map((text) => made("li", {}, text)));
    this.actions.refresh();
  }

  private changed(): void {
    this.work.changed();
    this.refresh();
  }

  private sizeOf(vhs: number): string {
    if (vhs < this.bands.smallBelow) return "Small";
    return vhs > this.bands.largeAbove ? "Large" : "Normal";
  }

  private remarks(vhs: number | undefined): string[] {
    const found: string[] = [];
    const askew = (deviation(this.stage.points, this.stage.aspect) * 180) / Math.PI;
    if (askew > ASKEW) found.push(`The short axis is ${askew.toFixed(0)}° off the perpendicular.`);
    if (vhs === undefined) return found;
    if (vhs < PLAUSIBLE[0] || vhs > PLAUSIBLE[1]) found.push("No dog's heart has this size.");
    return [...found, ...implausible(this.stage.points, this.stage.aspect, this.bands.plausible)];
  }

  private everybodys(): Action[] {
    const { stage } = this;
    const toggle = (title: string, key: string, pressed: () => boolean, run: () => void): Action => ({
      title,
      keys: [key],
      button: true,
      pressed,
      run: () => {
        run();
        this.actions.refresh();
      },
    });
    const dialog = (title: string, key: string, id: string): Action => ({
      title,
      keys: [key],
      button: true,
      run: () => the<HTMLDialogElement>(id).showModal(),
    });
    return [
      {
        title: "Undo",
        keys: ["z", "Control+z"],
        button: true,
        enabled: () => stage.canUndo,
        run: () => stage.undo(),
      },
      {
        title: "Redo",
        keys: ["y", "Control+y"],
        button: true,
        enabled: () => stage.canRedo,
        run: () => stage.redo(),
      },
      ...NAMES.map((name) => ({
        title: `${name}: ${WHERE[name]}`,
        keys: [name.toLowerCase()],
        run: () => stage.choose(name),
      })),
      {
        title: "Move the selected point, finely with Shift; where none is, the image",
        keys: Object.keys(ARROWS),
        run: (event) => {
          const [x, y] = ARROWS[event?.key ?? ""] ?? [0, 0];
          stage.nudge(x, y, event?.shiftKey ?? false, event?.altKey ?? false);
        },
      },
      { title: "Zoom in", keys: ["+", "="], button: true, run: () => stage.zoom(1.25) },
      { title: "Zoom out", keys: ["-"], button: true, run: () => stage.zoom(0.8) },
      { title: "Reset", keys: ["0"], button: true, run: () => stage.reset() },
      { title: "Invert", keys: ["i"], button: true, run: () => stage.invert() },
      toggle(
        "Window by dragging",
        "w",
        () => stage.windowing,
        () => stage.toggleWindowing(),
      ),
      toggle(
        "Magnifier",
        "m",
        () => stage.magnifying,
        () => stage.toggleMagnifier(),
      ),
      dialog("Guidelines", "g", "#guidelines"),
      dialog("Keys", "?", "#help"),
    ];
  }
}
