/** What happened to an image, as a reviewer may read it. */

import { call } from "./api.ts";
import { made, the } from "./page.ts";
import type { HistoryEntryJson, LabelJson, ReviewJson } from "./protos/canicor/labeling/v1/labeling_pb.ts";
import { REASONS } from "./rejecting.ts";

const WHEN = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** Shows the labels of an image, who placed them with what help, and what reviewers made of them. */
export async function openPast(token: string, imageId: string): Promise<void> {
  const { entries = [] } = await call(token, "GetHistory", { imageId });
  const told = entries.flatMap(({ label, review }) => [placed(label as LabelJson), ...reviewed(label, review)]);
  const items = told.map(([time, text]) =>
    made("li", {}, made("time", { datetime: time }, when(time)), ` ${text}`),
  );
  the("#past ol").replaceChildren(...(items.length ? items : [made("li", {}, "Nobody has labelled it yet.")]));
  the<HTMLDialogElement>("#past").showModal();
}

function placed(label: LabelJson): [string, string] {
  const { labeller = "", createTime = "", vhs, keyPoints, rejectReason, comment, timeSpent, suggestedBy } = label;
  const what = keyPoints
    ? `VHS ${Number(vhs).toFixed(2)}`
    : `rejected: ${REASONS[rejectReason ?? "REJECT_REASON_OTHER"] ?? ""}`;
  const parts = [`${labeller}: ${what}`];
  if (timeSpent) parts.push(`in ${Number.parseFloat(timeSpent).toFixed(1)} s`);
  if (suggestedBy) parts.push(`with the points of ${suggestedBy} on the screen`);
  if (label.adjudication) parts.push("to decide between labels that disagreed");
  if (comment) parts.push(`“${comment}”`);
  return [createTime, parts.join(", ")];
}

function reviewed(label: HistoryEntryJson["label"], review: ReviewJson | undefined): [string, string][] {
  if (!review) return [];
  const { reviewer = "", createTime = "", verdict, vhs, comment } = review;
  const whose = `${label?.labeller ?? ""}'s label`;
  const said: Readonly<Record<string, string>> = {
    REVIEW_STATE_APPROVED: `approved ${whose}`,
    REVIEW_STATE_CORRECTED: `corrected ${whose} to VHS ${Number(vhs).toFixed(2)}`,
    REVIEW_STATE_SENT_BACK: `sent ${whose} back: “${comment ?? ""}”`,
  };
  return [[createTime, `${reviewer} ${said[verdict ?? ""] ?? ""}`]];
}

function when(time: string): string {
  return WHEN.format(new Date(time));
}
