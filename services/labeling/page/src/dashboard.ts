/** How a project stands: counts, how fast people are, how far they agree. */

import { type Bands, call } from "./api.ts";
import type { Project } from "./desk.ts";
import { made, the, view } from "./page.ts";
import { columns, scatter } from "./plots.ts";
import type {
  GetAgreementResponseJson,
  GetStatisticsResponseJson,
} from "./protos/canicor/labeling/v1/labeling_pb.ts";

const EVERY = 60_000;

export class Dashboard {
  constructor(
    private readonly token: string,
    private readonly project: Project,
    private readonly bands: Bands,
  ) {
    the("#dashboard h1").textContent = project.name;
    view("dashboard");
    this.refresh();
    window.setInterval(() => this.refresh(), EVERY);
  }

  private async refresh(): Promise<void> {
    const asked = { project: this.project.name };
    try {
      const [counts, agreement] = await Promise.all([
        call(this.token, "GetStatistics", asked),
        call(this.token, "GetAgreement", asked),
      ]);
      the("#plots").replaceChildren(
        table("Images", ["", "how many"], counted(counts)),
        figure(columns("Labels a day", days(counts))),
        figure(this.sizes(counts), this.bands.notice),
        table("Labellers", ["who", "labels", "median time"], labellers(counts)),
        ...(agreement.pairs?.map(blandAltman) ?? []),
        table(
          "Agreement",
          ["pair", "images", "VHS bias", "95 % limits", "ICC(2,1)", "kappa of the class"],
          pairs(agreement.pairs),
        ),
        table(
          "On gold images",
          ["who", "images", "VHS bias", "95 % limits", "ICC(2,1)", "kappa"],
          pairs(agreement.gold),
        ),
      );
      the("#dashboard .problem").textContent = "";
    } catch (error) {
      the("#dashboard .problem").textContent = (error as Error).message;
    }
  }

  /** Returns how many labels have which VHS, with the bands' borders. */
  private sizes({ vhsHistogram = [], vhsHistogramStart = 0, vhsHistogramStep = 1 }: GetStatisticsResponseJson) {
    const [start, step] = [Number(vhsHistogramStart), Number(vhsHistogramStep)];
    const bars = vhsHistogram.map((count, index) => ({
      name: (start + index * step).toFixed(1),
      value: Number(count),
    }));
    const borders = [this.bands.smallBelow, this.bands.largeAbove].map((vhs) => (vhs - start) / step);
    return columns("VHS of the labels, in vertebrae", bars, bars.length ? borders : []);
  }
}

function counted(counts: GetStatisticsResponseJson): string[][] {
  const rows: [string, string | undefined][] = [
    ["imported", counts.imageCount],
    ["open", counts.openCount],
    ["in somebody's hands", counts.leasedCount],
    ["labelled", counts.labelledCount],
    ["disputed: a reviewer has to decide", counts.disputedCount],
    ["rejected", counts.rejectedCount],
    ["labels reviewed", counts.reviewedCount],
  ];
  return rows.map(([name, count]) => [name, String(count ?? 0)]);
}

function days({ days: found = [] }: GetStatisticsResponseJson) {
  return found.map(({ date = "", count }) => ({ name: date.slice(5), value: Number(count) }));
}

function labellers({ labellers: found = [] }: GetStatisticsResponseJson): string[][] {
  return found.map(({ labeller = "", count, medianTimeSpent }) => [
    labeller,
    String(count),
    medianTimeSpent ? `${Number.parseFloat(medianTimeSpent).toFixed(1)} s` : "",
  ]);
}

function pairs(found: GetAgreementResponseJson["pairs"] = []): string[][] {
  const number = (value: number | string | undefined) => (value === undefined ? "" : Number(value).toFixed(2));
  return found.map(({ first, second, imageCount, vhs, intraclassCorrelation, kappa }) => [
    first ? `${first}, ${second}` : `${second}`,
    String(imageCount ?? 0),
    number(vhs?.bias),
    vhs ? `${number(vhs.lower)} to ${number(vhs.upper)}` : "",
    number(intraclassCorrelation),
    number(kappa),
  ]);
}

/** Returns the plot of Bland and Altman (1986) of two labellers. */
function blandAltman({
  first,
  second,
  vhs,
  measurements = [],
}: NonNullable<GetAgreementResponseJson["pairs"]>[number]) {
  const points = measurements.map(({ first: one, second: other }): [number, number] => [
    (Number(one) + Number(other)) / 2,
    Number(other) - Number(one),
  ]);
  const levels = vhs
    ? ([
        [Number(vhs.upper), "+1.96 SD"],
        [Number(vhs.bias), "mean"],
        [Number(vhs.lower), "-1.96 SD"],
      ] as const)
    : [];
  return figure(scatter(`VHS of ${second} less that of ${first}, by their mean`, points, levels));
}

function figure(plot: SVGSVGElement, note = ""): HTMLElement {
  const title = plot.querySelector("title")?.textContent ?? "";
  const caption = made("figcaption", {}, title, ...(note ? [made("small", { class: "hint" }, note)] : []));
  return made("figure", {}, caption, plot);
}

function table(title: string, heads: readonly string[], rows: readonly string[][]): HTMLElement {
  const head = made("tr", {}, ...heads.map((text) => made("th", { scope: "col" }, text)));
  const body = rows.map((row) => made("tr", {}, ...row.map((text) => made("td", {}, text))));
  return made("table", {}, made("caption", {}, title), made("thead", {}, head), made("tbody", {}, ...body));
}
