/** The service's calls: JSON over HTTP, with the labeller's token. */

import type {
  GetAgreementRequestJson,
  GetAgreementResponseJson,
  GetHistoryRequestJson,
  GetHistoryResponseJson,
  GetProgressRequestJson,
  GetProgressResponseJson,
  GetStatisticsRequestJson,
  GetStatisticsResponseJson,
  LeaseTaskRequestJson,
  LeaseTaskResponseJson,
  ListLabelsRequestJson,
  ListLabelsResponseJson,
  ListProjectsRequestJson,
  ListProjectsResponseJson,
  RejectImageRequestJson,
  RejectImageResponseJson,
  ReviewLabelRequestJson,
  ReviewLabelResponseJson,
  SubmitLabelRequestJson,
  SubmitLabelResponseJson,
} from "./protos/canicor/labeling/v1/labeling_pb.ts";

interface Calls {
  GetAgreement: [GetAgreementRequestJson, GetAgreementResponseJson];
  GetHistory: [GetHistoryRequestJson, GetHistoryResponseJson];
  GetStatistics: [GetStatisticsRequestJson, GetStatisticsResponseJson];
  ListLabels: [ListLabelsRequestJson, ListLabelsResponseJson];
  ReviewLabel: [ReviewLabelRequestJson, ReviewLabelResponseJson];
  GetProgress: [GetProgressRequestJson, GetProgressResponseJson];
  LeaseTask: [LeaseTaskRequestJson, LeaseTaskResponseJson];
  ListProjects: [ListProjectsRequestJson, ListProjectsResponseJson];
  RejectImage: [RejectImageRequestJson, RejectImageResponseJson];
  SubmitLabel: [SubmitLabelRequestJson, SubmitLabelResponseJson];
}

export type Method = keyof Calls;

/** What the page is told without a token. */
export interface Bands {
  /** A heart is Small below, in vertebrae. */
  readonly smallBelow: number;
  /** And Large above. */
  readonly largeAbove: number;
  /** What a reader must know of them. */
  readonly notice: string;
  /** By figure of a heart. */
  readonly plausible: Readonly<Record<string, Limits>>;
}

/** Between which values a figure of a heart is plausible. */
export interface Limits {
  /** The figure, as a sentence begins. */
  readonly what: string;
  readonly lowest: number;
  readonly highest: number;
  readonly unit: string;
}

/** Which grey levels are spread from black to white, as shares of the whole range. */
export interface Window {
  readonly centre: number;
  readonly width: number;
}

/** An image's grey levels, of 8 or 16 bits. */
export interface Pixels {
  /** Row by row, bright = dense. */
  readonly pixels: Uint8Array | Uint16Array;
  readonly width: number;
  readonly height: number;
  /** A pixel's height over its width. */
  readonly aspect: number;
  /** As the file asks to be shown. */
  readonly window: Window;
}

/** The service's refusal of a call, or that it was not reached: then `code` is UNAVAILABLE. */
export class Refusal extends Error {
  constructor(
    readonly code: string,
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }

  /** Whether the same call may succeed later. */
  get passing(): boolean {
    return ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED"].includes(this.code);
  }
}

const DEADLINE = 30_000;

export async function call<M extends Method>(
  token: string,
  method: M,
  request: Calls[M][0],
): Promise<Calls[M][1]> {
  return (await answered(`/api/${method}`, {
    method: "POST",
    headers: authorization(token),
    body: JSON.stringify(request),
  }).then((answer) => answer.json())) as Calls[M][1];
}

export async function bands(): Promise<Bands> {
  return (await answered("/bands.json", {}).then((answer) => answer.json())) as Bands;
}

export async function pixels(token: string, imageId: string): Promise<Pixels> {
  const answer = await answered(`/images/${imageId}/pixels`, { headers: authorization(token) });
  const bytes = await answer.arrayBuffer();
  const names = ["Columns", "Rows", "Bits", "Pixel-Aspect", "Black", "White"] as const;
  const [width, height, bits, aspect, black, white] = names.map((name) =>
    Number(answer.headers.get(`Canicor-${name}`)),
  ) as [number, number, number, number, number, number];
  const window = { centre: (black + white) / 2, width: white - black };
  // Two bytes a pixel are little-endian, as every machine with a browser is.
  return { pixels: bits === 8 ? new Uint8Array(bytes) : new Uint16Array(bytes), width, height, aspect, window };
}

/** Returns a new id for a request that may be sent twice; crypto.randomUUID is there over TLS alone. */
export function requestId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function answered(url: string, options: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, { ...options, signal: AbortSignal.timeout(DEADLINE) });
  } catch (error) {
    throw new Refusal("UNAVAILABLE", "NOT_REACHED", `The server can't be reached: ${(error as Error).message}`);
  }
  if (answer.ok) return answer;
  // What is not the service's own refusal comes from something before it.
  const body = (await answer.json().catch(() => ({}))) as { code?: string; reason?: string; message?: string };
  const code = body.code ?? (answer.status >= 500 ? "UNAVAILABLE" : "UNKNOWN");
  throw new Refusal(code, body.reason ?? "", body.message ?? `The server answers ${answer.status}.`);
}

function authorization(token: string): Record<string, string> {
  return { Authorization: `Bearer ${token}` };
}
