/** Plots as SVG, each with a title that a screen reader says. */

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, MARGIN] = [420, 220, 40];

export interface Bar {
  readonly name: string;
  readonly value: number;
}

/** Returns a column for each bar; `lines` stand between bars, at a place counted in them. */
export function columns(title: string, bars: readonly Bar[], lines: readonly number[] = []): SVGSVGElement {
  const plot = new Plot(title, [0, Math.max(bars.length, 1)], [0, Math.max(1, ...bars.map(({ value }) => value))]);
  for (const [index, { name, value }] of bars.entries()) {
    plot.rectangle(index + 0.1, value, index + 0.9, 0, `${name}: ${value}`);
  }
  const every = Math.ceil(bars.length / 8);
  for (const [index, { name }] of bars.entries()) if (index % every === 0) plot.below(index + 0.5, name);
  for (const line of lines) plot.vertical(line);
  plot.scale();
  return plot.element;
}

/** Returns a point for each pair of numbers, and level lines with their names. */
export function scatter(
  title: string,
  points: readonly (readonly [number, number])[],
  levels: readonly (readonly [number, string])[],
): SVGSVGElement {
  const [xs, ys] = [points.map(([x]) => x), [...points.map(([, y]) => y), ...levels.map(([y]) => y)]];
  const plot = new Plot(title, widened(xs), widened(ys));
  for (const [level, name] of levels) plot.horizontal(level, name);
  for (const [x, y] of points) plot.dot(x, y);
  const [low, high] = widened(xs);
  for (const x of [low, (low + high) / 2, high]) plot.below(x, x.toFixed(1));
  plot.scale();
  return plot.element;
}

function widened(values: readonly number[]): [number, number] {
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 0];
  const more = 0.1 * (high - low) || 0.5;
  return [low - more, high + more];
}

class Plot {
  readonly element = document.createElementNS(SVG, "svg");

  constructor(
    title: string,
    private readonly across: readonly [number, number],
    private readonly up: readonly [number, number],
  ) {
    this.element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute("role", "img");
    this.add("title", {}, title);
    this.add("path", { class: "axis", d: `M${MARGIN} 10V${HEIGHT - 25}H${WIDTH - 10}` });
  }

  rectangle(left: number, top: number, right: number, bottom: number, title: string): void {
    const [x, y] = [this.x(left), this.y(top)];
    const size = { width: String(this.x(right) - x), height: String(this.y(bottom) - y) };
    const bar = this.add("rect", { x: String(x), y: String(y), ...size });
    this.add("title", {}, title, bar);
  }

  dot(x: number, y: number): void {
    this.add("circle", { cx: String(this.x(x)), cy: String(this.y(y)), r: "3" });
  }

  vertical(x: number): void {
    this.add("path", { class: "level", d: `M${this.x(x)} 10V${HEIGHT - 25}` });
  }

  horizontal(y: number, name: string): void {
    this.add("path", { class: "level", d: `M${MARGIN} ${this.y(y)}H${WIDTH - 10}` });
    this.add("text", { x: String(WIDTH - 12), y: String(this.y(y) - 3), "text-anchor": "end" }, name);
  }

  below(x: number, name: string): void {
    this.add("text", { x: String(this.x(x)), y: String(HEIGHT - 8), "text-anchor": "middle" }, name);
  }

  /** Writes the ends of the upward axis. */
  scale(): void {
    for (const value of this.up) {
      const text = Number.isInteger(value) ? String(value) : value.toFixed(1);
      this.add("text", { x: String(MARGIN - 5), y: String(this.y(value) + 4), "text-anchor": "end" }, text);
    }
  }

  private x(value: number): number {
    return MARGIN + ((value - this.across[0]) / (this.across[1] - this.across[0])) * (WIDTH - MARGIN - 10);
  }

  private y(value: number): number {
    return HEIGHT - 25 - ((value - this.up[0]) / (this.up[1] - this.up[0])) * (HEIGHT - 35);
  }

  private add(
    tag: string,
    attributes: Record<string, string>,
    text = "",
    parent: Element = this.element,
  ): Element {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    parent.append(element);
    return element;
  }
}
