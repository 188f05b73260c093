/** The reviewer's work: to decide where labels disagree, then to see every label that nobody has reviewed. */

import type { Action } from "./actions.ts";
import { type Bands, call, Refusal, requestId } from "./api.ts";
import { Desk, type Project, type Work } from "./desk.ts";
import { fetchLevels } from "./fetching.ts";
import { missing, NAMES, type Points, WHERE } from "./geometry.ts";
import type { Levels } from "./levels.ts";
import type { Other } from "./overlay.ts";
import { problem, the } from "./page.ts";
import { openPast } from "./past.ts";
import { messageOf, pointsOf } from "./points.ts";
import type { LabelJson, TaskJson } from "./protos/canicor/labeling/v1/labeling_pb.ts";
import { REASONS, RejectDialog } from "./rejecting.ts";

/** An image to decide on, or a label to review. */
type Case =
  | { readonly kind: "decision"; readonly imageId: string; readonly leaseId: string; readonly labels: LabelJson[] }
  | { readonly kind: "review"; readonly imageId: string; readonly label: LabelJson; readonly labels: LabelJson[] };

const AHEAD = 2;
const LABELS = 200; // at once

export class Reviewing implements Work {
  private readonly desk: Desk;
  private readonly rejecting: RejectDialog;
  private readonly levels = new Map<string, Promise<Levels>>();
  private reviews: Case[] = [];
  private current: Case | undefined;
  private moved = false;

  constructor(
    private readonly token: string,
    private readonly project: Project,
    bands: Bands,
  ) {
    this.desk = new Desk(bands, project, this);
    this.rejecting = new RejectDialog((reason, comment) => this.decide("RejectImage", { reason, comment }));
    const dialog = the<HTMLDialogElement>("#send-back");
    dialog.addEventListener("close", () => {
      if (dialog.returnValue) this.review({ sendBack: the<HTMLInputElement>("#send-back input").value });
    });
    this.desk.empty("Loading…");
    this.next();
  }

  actions(): readonly Action[] {
    const kind = (wanted: Case["kind"]) => () => this.current?.kind === wanted;
    return [
      {
        title: "Approve",
        keys: ["Enter", " "],
        button: true,
        enabled: () => this.isComplete,
        run: () => this.approve(),
      },
      { title: "Send back", keys: ["x"], button: true, enabled: kind("review"), run: () => this.askWhy() },
      {
        title: "Reject image",
        keys: ["r"],
        button: true,
        enabled: kind("decision"),
        run: () => this.rejecting.open(),
      },
      { title: "History", keys: ["h"], button: true, enabled: () => !!this.current, run: () => this.openPast() },
    ];
  }

  step(): string {
    const { current } = this;
    if (!current) return "";
    const name = missing(this.desk.stage.points);
    if (current.kind === "decision") {
      return name
        ? `Labels disagree. Place ${name}: ${WHERE[name]}`
        : "Labels disagree: your points will count alone";
    }
    const { labeller = "", rejectReason } = current.label;
    if (isReject(current.label))
      return `${labeller} rejects it: ${REASONS[rejectReason ?? "REJECT_REASON_OTHER"] ?? ""}`;
    return `${labeller}'s label: approve it, or move what is wrong first`;
  }

  remarks(): readonly string[] {
    const { current } = this;
    if (!current) return [];
    const said = current.labels.map(
      (label) => `${label.labeller}: ${isReject(label) ? "rejects it" : `VHS ${Number(label.vhs).toFixed(1)}`}`,
    );
    const comments = current.labels.flatMap(({ labeller, comment }) =>
      comment ? [`${labeller}: “${comment}”`] : [],
    );
    return [...said, ...comments];
  }

  changed(): void {
    this.moved = this.desk.stage.canUndo;
  }

  private get isComplete(): boolean {
    const { current } = this;
    if (!current) return false;
    return this.desk.isMeasured || (current.kind === "review" && isReject(current.label));
  }

  private async next(): Promise<void> {
    try {
      const found = (await this.decision()) ?? (await this.pending());
      this.current = found;
      this.moved = false;
      if (!found) {
        this.desk.empty("Nothing is left to review.");
        return;
      }
      const levels = await this.fetched(found.imageId);
      const points = found.kind === "decision" ? mean(found.labels) : (placed(found.label) ?? {});
      this.desk.show({ levels, points }, others(found));
      for (const { imageId } of this.reviews.slice(0, AHEAD)) this.fetched(imageId).catch(() => {});
    } catch (error) {
      this.current = undefined;
      this.desk.empty((error as Error).message);
    }
  }

  /** Returns an image whose labels disagree, which is the caller's for a while. */
  private async decision(): Promise<Case | undefined> {
    try {
      const { task } = await call(this.token, "LeaseTask", { project: this.project.name, adjudicate: true });
      const { leaseId, image, labels = [] } = task as Required<TaskJson>;
      return { kind: "decision", imageId: image.id as string, leaseId, labels };
    } catch (error) {
      if (error instanceof Refusal && error.reason === "NO_TASK_LEFT") return undefined;
      throw error;
    }
  }

  /** Returns the next label that nobody has reviewed. */
  private async pending(): Promise<Case | undefined> {
    if (!this.reviews.length) {
      const asked = { project: this.project.name, pageSize: LABELS, reviewState: "REVIEW_STATE_PENDING" } as const;
      const { labels = [] } = await call(this.token, "ListLabels", asked);
      this.reviews = Object.values(Object.groupBy(labels, ({ imageId }) => imageId as string)).flatMap(
        (all = []) => {
          // Where a reviewer decided, the other labels count no longer.
          if (all.some(({ adjudication }) => adjudication)) return [];
          return all.map(
            (label) => ({ kind: "review", imageId: label.imageId as string, label, labels: all }) as const,
          );
        },
      );
    }
    return this.reviews.shift();
  }

  private fetched(imageId: string): Promise<Levels> {
    const known = this.levels.get(imageId);
    if (known) return known;
    // Others were seen, and are not needed again.
    const needed = [this.current?.imageId, ...this.reviews.slice(0, AHEAD).map((one) => one.imageId)];
    for (const id of this.levels.keys()) if (!needed.includes(id)) this.levels.delete(id);
    const levels = fetchLevels({ token: this.token, imageId });
    this.levels.set(imageId, levels);
    return levels;
  }

  private async approve(): Promise<void> {
    const keyPoints = messageOf(this.desk.stage.points);
    if (this.current?.kind === "decision") await this.decide("SubmitLabel", { keyPoints });
    else await this.review(this.moved ? { correction: keyPoints } : { approval: {} });
  }

  private async openPast(): Promise<void> {
    if (!this.current) return;
    try {
      await openPast(this.token, this.current.imageId);
    } catch (error) {
      problem((error as Error).message);
    }
  }

  private askWhy(): void {
    const dialog = the<HTMLDialogElement>("#send-back");
    the<HTMLFormElement>("#send-back form").reset();
    dialog.returnValue = "";
    dialog.showModal();
  }

  private async decide(method: "SubmitLabel" | "RejectImage", said: object): Promise<void> {
    const { current } = this;
    if (current?.kind !== "decision") return;
    const request = { requestId: requestId(), leaseId: current.leaseId, ...said };
    await this.tell(() => call(this.token, method, request));
  }

  private async review(verdict: object): Promise<void> {
    const { current } = this;
    if (current?.kind !== "review") return;
    await this.tell(() => call(this.token, "ReviewLabel", { labelId: current.label.id as string, ...verdict }));
  }

  /** Tells the service, and goes on; where it does not answer, nothing is lost but the moment. */
  private async tell(telling: () => Promise<unknown>): Promise<void> {
    const { current } = this;
    this.current = undefined; // A second Enter must not tell it again.
    try {
      await telling();
    } catch (error) {
      problem((error as Error).message);
      if (error instanceof Refusal && error.passing) {
        this.current = current;
        return;
      }
    }
    await this.next();
  }
}

function isReject(label: LabelJson): boolean {
  return !label.keyPoints;
}

function placed(label: LabelJson): Points | undefined {
  return label.keyPoints && pointsOf(label.keyPoints);
}

/** Returns where the labels have the points in the mean; none where all are rejects. */
function mean(labels: readonly LabelJson[]): Points {
  const all = labels.flatMap((label) => placed(label) ?? []) as Required<Points>[];
  if (!all.length) return {};
  const middle = (name: (typeof NAMES)[number], axis: "x" | "y") =>
    all.reduce((sum, points) => sum + points[name][axis], 0) / all.length;
  return Object.fromEntries(NAMES.map((name) => [name, { x: middle(name, "x"), y: middle(name, "y") }]));
}

/** Returns the labels that are not the one in question. */
function others(found: Case): Other[] {
  const rest = found.kind === "decision" ? found.labels : found.labels.filter(({ id }) => id !== found.label.id);
  return rest.flatMap((label) => {
    const points = placed(label);
    return points ? [{ name: label.labeller ?? "", points }] : [];
  });
}
