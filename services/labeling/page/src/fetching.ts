import { Refusal } from "./api.ts";
import type { Levels } from "./levels.ts";
import type { Order, Result } from "./levels.worker.ts";

type Waiting = { resolve: (levels: Levels) => void; reject: (refusal: Refusal) => void };

const worker = new Worker(new URL("./levels.worker.ts", import.meta.url), { type: "module" });
const waiting = new Map<number, Waiting>();
let orders = 0;

worker.onmessage = ({ data }: MessageEvent<Result>) => {
  const { resolve, reject } = waiting.get(data.id) as Waiting;
  waiting.delete(data.id);
  if ("levels" in data) resolve(data.levels);
  else reject(new Refusal(data.code, data.reason, data.message));
};

/** Returns an image's levels; fetched and made beside the page's own thread. */
export function fetchLevels(order: Omit<Order, "id">): Promise<Levels> {
  const id = orders++;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, ...order } satisfies Order);
  });
}
