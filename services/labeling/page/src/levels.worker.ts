/** Fetches images and halves them, apart from the thread that draws. */

import { pixels, Refusal } from "./api.ts";
import { type Levels, levels } from "./levels.ts";

export interface Order {
  readonly id: number;
  readonly token: string;
  readonly imageId: string;
}

export type Result =
  | { id: number; levels: Levels }
  | { id: number; code: string; reason: string; message: string };

self.onmessage = async ({ data }: MessageEvent<Order>) => {
  const { id, token, imageId } = data;
  try {
    const made = levels(await pixels(token, imageId));
    const result: Result = { id, levels: made };
    self.postMessage(result, { transfer: made.pixels.map((one) => one.buffer) });
  } catch (error) {
    const { code, reason, message } =
      error instanceof Refusal ? error : new Refusal("INTERNAL", "", String(error));
    const result: Result = { id, code, reason, message };
    self.postMessage(result);
  }
};
