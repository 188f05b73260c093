/** The labeller's work: one image after another. */

import type { Action } from "./actions.ts";
import { type Bands, call, Refusal, requestId } from "./api.ts";
import { Desk, type Project, type Work } from "./desk.ts";
import { deleteDraft, deleteOldDrafts, draft, putDraft } from "./drafts.ts";
import { missing, NAMES, type Name, type Points, VERTEBRAE, WHERE } from "./geometry.ts";
import { Hand, type Held } from "./hand.ts";
import { type Letter, Outbox } from "./outbox.ts";
import { problem, the, view } from "./page.ts";
import { messageOf, pointsOf } from "./points.ts";
import type { GetProgressResponseJson } from "./protos/canicor/labeling/v1/labeling_pb.ts";
import { RejectDialog } from "./rejecting.ts";

const FAR = 1; // vertebrae from a model's point that are worth a remark
const PROGRESS_EVERY = 60_000;

export class Labelling implements Work {
  private readonly desk: Desk;
  private readonly hand: Hand;
  private readonly rejecting: RejectDialog;
  private current: Held | undefined;
  private suggested: Points | undefined;
  private begun = 0;
  private away = 0; // milliseconds that the page was not seen since
  private hiddenAt = 0;
  private progress: GetProgressResponseJson | undefined;
  private counted = 0; // images done since progress was asked for

  private constructor(
    private readonly token: string,
    private readonly project: Project,
    bands: Bands,
    private readonly outbox: Outbox,
  ) {
    this.desk = new Desk(bands, project, this);
    this.rejecting = new RejectDialog((reason, comment) => this.send("RejectImage", { reason, comment }));
    const sent = () => outbox.leases;
    this.hand = new Hand(token, project.name, sent, (refusal) => this.arrived(refusal));
    document.addEventListener("visibilitychange", () => this.seen());
    window.setInterval(() => this.count(), PROGRESS_EVERY);
    this.desk.empty("Loading…");
    this.count();
  }

  /** Delivers what an earlier visit left, then begins; in one tab at a time, for two would have the same images. */
  static async begin(token: string, project: Project, bands: Bands): Promise<void> {
    await alone();
    deleteOldDrafts();
    const outbox = await Outbox.open(
      (left, reached) => {
        the("#delivery").textContent = left && !reached ? `Offline: ${left} saved here, to be sent` : "";
      },
      ({ method }, { message }) => {
        problem(`A ${method === "SubmitLabel" ? "label" : "reject"} was refused: ${message}`);
      },
    );
    new Labelling(token, project, bands, outbox);
  }

  actions(): readonly Action[] {
    const enabled = () => !!this.current && this.desk.isMeasured;
    return [
      { title: "Save", keys: ["Enter", " "], button: true, enabled, run: () => this.save() },
      {
        title: "Reject",
        keys: ["x"],
        button: true,
        enabled: () => !!this.current,
        run: () => this.rejecting.open(),
      },
      {
        title: "Model's points",
        keys: ["s"],
        button: true,
        enabled: () => !!this.suggested,
        run: () => this.take(),
      },
    ];
  }

  step(): string {
    if (!this.current) return "";
    const name = missing(this.desk.stage.points);
    return name ? `Place ${name}: ${WHERE[name]}` : "All placed: save";
  }

  remarks(): readonly string[] {
    if (!this.suggested) return [];
    const far = farthest(this.desk.stage.points, this.suggested, this.desk.stage.aspect);
    const found = far
      ? [`${far.name} lies ${far.vertebrae.toFixed(1)} vertebrae from where the model has it.`]
      : [];
    return [...found, "A model placed the points first: check each."];
  }

  changed(): void {
    const { stage } = this.desk;
    if (this.current && !stage.isDragging) putDraft(this.current.task.leaseId, stage.points);
  }

  private async arrived(refusal?: Refusal): Promise<void> {
    if (this.current) return;
    if (refusal) this.desk.empty(refusal.message);
    else await this.next();
  }

  /** Shows the first image of the hand, once it is there. */
  private async next(): Promise<void> {
    const held = this.hand.first;
    this.current = held;
    if (!held) {
      this.desk.empty("Loading…");
      return;
    }
    const { task } = held;
    this.suggested = task.suggestion && pointsOf(task.suggestion);
    try {
      const levels = await held.levels;
      if (this.current !== held) return;
      const others = this.suggested ? [{ name: "model", points: this.suggested }] : [];
      this.desk.show({ levels, points: draft(task.leaseId) ?? this.suggested ?? {} }, others);
    } catch (error) {
      this.desk.empty(`This image can't be shown (${(error as Error).message}): reject it.`);
    }
    this.begun = performance.now();
    this.away = 0;
    const levels = await this.hand.second?.levels.catch(() => undefined);
    if (levels && this.current === held) requestIdleCallback(() => this.desk.stage.prepare(levels));
  }

  private async save(): Promise<void> {
    const seconds = Math.max(0, (performance.now() - this.begun - this.away) / 1000);
    await this.send("SubmitLabel", {
      keyPoints: messageOf(this.desk.stage.points),
      timeSpent: `${seconds.toFixed(3)}s`,
      suggestionShown: !!this.suggested,
    });
  }

  private async send(method: Letter["method"], said: object): Promise<void> {
    const held = this.current;
    if (!held) return;
    this.current = undefined; // A second Enter must not save it again.
    this.desk.refresh();
    const request = { requestId: requestId(), leaseId: held.task.leaseId, ...said };
    await this.outbox.put({ method, token: this.token, request });
    deleteDraft(held.task.leaseId);
    this.hand.advance();
    this.counted += 1;
    this.tellProgress();
    await this.next();
  }

  private take(): void {
    if (this.suggested) this.desk.stage.take(this.suggested);
  }

  private tellProgress(): void {
    const { doneCount = 0, medianTimeSpent, openCount = 0 } = this.progress ?? {};
    const parts = [`today ${Number(doneCount) + this.counted}`];
    if (medianTimeSpent) parts.push(`${Number.parseFloat(medianTimeSpent).toFixed(1)} s each`);
    if (this.progress) parts.push(`${Math.max(0, Number(openCount) - this.counted)} left`);
    the("#progress").textContent = parts.join(" · ");
  }

  private async count(): Promise<void> {
    const midnight = new Date();
    midnight.setHours(0, 0, 0, 0);
    const asked = { project: this.project.name, since: midnight.toISOString() };
    try {
      await this.outbox.empty();
      this.progress = await call(this.token, "GetProgress", asked);
      this.counted = this.outbox.size;
      this.tellProgress();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }

  private seen(): void {
    if (document.hidden) this.hiddenAt = performance.now();
    else this.away += performance.now() - this.hiddenAt;
  }
}

/** Waits until no other tab of this browser labels; then none will until this one is closed. */
async function alone(): Promise<void> {
  // Without TLS a page that comes from another machine has no locks.
  if (!navigator.locks) return;
  if (await isGiven({ ifAvailable: true })) return;
  view("desk");
  the("#empty").textContent = "You are labelling in another tab: go on there, or close it to go on here.";
  the("#empty").hidden = false;
  await isGiven({});
}

/** Whether the labellers' lock was given; it is kept until this tab is closed. */
function isGiven(options: LockOptions): Promise<boolean> {
  return new Promise((resolve) => {
    navigator.locks.request("canicor-labelling", options, (lock) => {
      resolve(lock !== null);
      return lock && new Promise(() => {});
    });
  });
}

/** Returns the point that lies farthest from where a model has it, where that is far. */
function farthest(points: Points, model: Points, aspect: number): { name: Name; vertebrae: number } | undefined {
  const distance = (from: Points[Name], to: Points[Name]) =>
    from && to ? Math.hypot(to.x - from.x, aspect * (to.y - from.y)) : 0;
  const vertebra = distance(model.E, model.F) / VERTEBRAE;
  const all = NAMES.map((name) => ({ name, vertebrae: distance(points[name], model[name]) / vertebra }));
  const found = all.reduce((one, other) => (other.vertebrae > one.vertebrae ? other : one));
  return found.vertebrae > FAR ? found : undefined;
}
