/** The images in a labeller's hand: the one he is at, and those that are fetched ahead of him. */

import { call, Refusal } from "./api.ts";
import { fetchLevels } from "./fetching.ts";
import type { Levels } from "./levels.ts";
import type { ImageJson, TaskJson } from "./protos/canicor/labeling/v1/labeling_pb.ts";

export interface Held {
  readonly task: TaskJson & { leaseId: string; image: ImageJson & { id: string } };
  readonly levels: Promise<Levels>;
}

const MOST = 5; // the service's own limit
const RENEW_EVERY = 120_000;
const ASK_AGAIN = 5000;

/** Leases tasks so that there is always a next one, and renews the leases. */
export class Hand {
  private held: Held[] = [];
  private filling: Promise<void> | undefined;
  private timer = 0;

  /**
   * @param sent Leases whose labels are on their way to the service.
   * @param changed Told when a first image has come, or why none comes.
   */
  constructor(
    private readonly token: string,
    private readonly project: string,
    private readonly sent: () => string[],
    private readonly changed: (problem?: Refusal) => void,
  ) {
    this.fill();
  }

  /** What he is at. */
  get first(): Held | undefined {
    return this.held[0];
  }

  /** What comes next. */
  get second(): Held | undefined {
    return this.held[1];
  }

  /** Lays the first aside, for its label is on its way; what was the second is the first. */
  advance(): void {
    this.held.shift();
    this.fill();
  }

  /** Asks for tasks until the hand is full or none is left, then now and then again. */
  fill(): void {
    clearTimeout(this.timer);
    this.filling ??= this.fillUp().then((wait) => {
      this.filling = undefined;
      this.timer = window.setTimeout(() => this.fill(), wait);
    });
  }

  private async fillUp(): Promise<number> {
    try {
      do {
        // Of a full hand the last is asked for again: that renews them all.
        const others = this.held.slice(0, MOST - 1).map(({ task }) => task.leaseId);
        const held = [...new Set([...this.sent(), ...others])].slice(0, MOST - 1);
        const { task } = await call(this.token, "LeaseTask", { project: this.project, heldLeaseIds: held });
        this.add(task as Held["task"]);
      } while (this.held.length + this.sent().length < MOST);
      return RENEW_EVERY;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (!this.held.length || !["NO_TASK_LEFT", "NOT_REACHED"].includes(error.reason)) this.changed(error);
      return ASK_AGAIN;
    }
  }

  private add(task: Held["task"]): void {
    const known = [...this.sent(), ...this.held.map((one) => one.task.leaseId)];
    if (known.includes(task.leaseId)) return;
    const levels = fetchLevels({ token: this.token, imageId: task.image.id });
    levels.catch(() => {}); // It is awaited when its turn comes.
    this.held.push({ task, levels });
    if (this.held.length === 1) this.changed();
  }
}
