/** What a labeller has said, kept by the browser until the service has it. */

import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import { call, type Method, Refusal } from "./api.ts";
import type { RejectImageRequestJson, SubmitLabelRequestJson } from "./protos/canicor/labeling/v1/labeling_pb.ts";

/** A label or a reject on its way. */
export interface Letter {
  readonly method: Extract<Method, "SubmitLabel" | "RejectImage">;
  readonly request: (SubmitLabelRequestJson | RejectImageRequestJson) & { requestId: string; leaseId: string };
  /** Of him who said it: another may sign in before it is delivered. */
  readonly token: string;
}

interface Kept extends DBSchema {
  letters: { key: number; value: Letter };
}

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15_000;

/** Delivers letters in their order, again and again until the service answers. */
export class Outbox {
  private letters: { key: number; letter: Letter }[] = [];
  private delivering: Promise<void> | undefined;
  private wake: () => void = () => {};

  private constructor(
    private readonly kept: IDBPDatabase<Kept>,
    private readonly changed: (left: number, reached: boolean) => void,
    private readonly refused: (letter: Letter, refusal: Refusal) => void,
  ) {}

  /**
   * Opens what an earlier visit left, and begins to deliver it.
   *
   * @param changed Told how many letters are left whenever one comes or goes, and whether the service was reached.
   * @param refused Told of a letter that the service will never take.
   */
  static async open(
    changed: (left: number, reached: boolean) => void,
    refused: (letter: Letter, refusal: Refusal) => void,
  ): Promise<Outbox> {
    const kept = await openDB<Kept>("canicor-labelling", 1, {
      upgrade(database) {
        database.createObjectStore("letters", { autoIncrement: true });
      },
    });
    const outbox = new Outbox(kept, changed, refused);
    for (const key of await kept.getAllKeys("letters")) {
      outbox.letters.push({ key, letter: (await kept.get("letters", key)) as Letter });
    }
    window.addEventListener("online", () => outbox.wake());
    outbox.deliver();
    return outbox;
  }

  get size(): number {
    return this.letters.length;
  }

  /** The leases that end when all is delivered. */
  get leases(): string[] {
    return this.letters.map(({ letter }) => letter.request.leaseId);
  }

  /** Keeps a letter; once this returns, it outlives the page. */
  async put(letter: Letter): Promise<void> {
    const key = await this.kept.add("letters", letter);
    this.letters.push({ key, letter });
    this.changed(this.size, true);
    this.deliver();
  }

  /** Returns once all is delivered. */
  async empty(): Promise<void> {
    await this.delivering;
  }

  private deliver(): void {
    this.delivering ??= this.deliverAll().finally(() => {
      this.delivering = undefined;
    });
  }

  private async deliverAll(): Promise<void> {
    let wait = FIRST_WAIT;
    for (let first = this.letters[0]; first; first = this.letters[0]) {
      try {
        await call(first.letter.token, first.letter.method, first.letter.request);
      } catch (error) {
        const refusal = error instanceof Refusal ? error : new Refusal("UNAVAILABLE", "", String(error));
        if (refusal.passing) {
          this.changed(this.size, false);
          await new Promise<void>((resolve) => {
            this.wake = resolve;
            setTimeout(resolve, wait);
          });
          wait = Math.min(2 * wait, LONGEST_WAIT);
          continue;
        }
        this.refused(first.letter, refusal);
      }
      wait = FIRST_WAIT;
      await this.kept.delete("letters", first.key);
      this.letters.shift();
      this.changed(this.size, true);
    }
  }
}
