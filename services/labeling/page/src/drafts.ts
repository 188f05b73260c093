/** Points that are placed and not saved yet: written at once, so that they outlive a tab that closes this moment. */

import type { Points } from "./geometry.ts";

interface Draft {
  readonly points: Points;
  readonly time: number;
}

const PREFIX = "canicor-draft-";
const KEPT = 24 * 3600 * 1000; // milliseconds: no lease is longer

export function putDraft(leaseId: string, points: Points): void {
  localStorage.setItem(PREFIX + leaseId, JSON.stringify({ points, time: Date.now() } satisfies Draft));
}

/** Returns the points that an earlier visit left for a lease. */
export function draft(leaseId: string): Points | undefined {
  const text = localStorage.getItem(PREFIX + leaseId);
  return text ? (JSON.parse(text) as Draft).points : undefined;
}

export function deleteDraft(leaseId: string): void {
  localStorage.removeItem(PREFIX + leaseId);
}

/** Deletes what nobody can come back to: its lease is over. */
export function deleteOldDrafts(): void {
  for (const key of Object.keys(localStorage)) {
    if (!key.startsWith(PREFIX)) continue;
    const { time } = JSON.parse(localStorage.getItem(key) as string) as Draft;
    if (Date.now() - time > KEPT) localStorage.removeItem(key);
  }
}
