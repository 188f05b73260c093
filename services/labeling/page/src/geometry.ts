/**
 * The six points, what follows from them, and how they move together.
 *
 * Coordinates are pixels of the image as received: x to the right, y down, pixel centres at whole numbers. Lengths
 * are taken in square pixels: `aspect` is a pixel's height over its width.
 */

export const NAMES = ["A", "B", "C", "D", "E", "F"] as const;
export type Name = (typeof NAMES)[number];

export interface Point {
  readonly x: number;
  readonly y: number;
}

export type Points = Readonly<Partial<Record<Name, Point>>>;

export const WHERE: Readonly<Record<Name, string>> = {
  A: "carina",
  B: "cardiac apex",
  C: "cranial end of the short axis",
  D: "caudal end of the short axis",
  E: "cranial edge of T4",
  F: "caudal edge of T9",
};

/** E to F spans T4 to T9. */
export const VERTEBRAE = 6;

const SHORTEST_LINE = 1e-6;
const PERPENDICULAR = 0.001; // radians

export interface Measurement {
  readonly vhs: number;
  readonly longAxis: number;
  readonly shortAxis: number;
}

/** Returns what six points say, in vertebrae; nothing where one is missing or a line has no length. */
export function measure(points: Points, aspect: number): Measurement | undefined {
  const [long, short, ruler] = (["AB", "CD", "EF"] as const).map((line) => {
    const [from, to] = [points[line[0] as Name], points[line[1] as Name]];
    return from && to ? Math.hypot(to.x - from.x, aspect * (to.y - from.y)) : 0;
  });
  if (!long || !short || !ruler || Math.min(long, short, ruler) < SHORTEST_LINE) return undefined;
  const vertebra = ruler / VERTEBRAE;
  return { vhs: (long + short) / vertebra, longAxis: long / vertebra, shortAxis: short / vertebra };
}

/** Returns the name of the first point that is not placed. */
export function missing(points: Points): Name | undefined {
  return NAMES.find((name) => !points[name]);
}

/**
 * Returns the points with one of them placed or moved.
 *
 * The short axis stays perpendicular to the long one: its second end is placed on the perpendicular through the first;
 * when an end is dragged the other follows; when the long axis turns, it turns with it about its middle.
 *
 * @param free Moves this point alone. A short axis that was freed so turns no longer with the long one.
 */
export function moved(points: Points, name: Name, to: Point, aspect: number, free = false): Points {
  const next = { ...points, [name]: to };
  const { A, B } = next;
  if (free || !A || !B || same(A, B)) return next;
  const across = perpendicular(A, B, aspect);
  if (name === "C" || name === "D") {
    const other = name === "C" ? "D" : "C";
    const still = next[other];
    if (!still) return next;
    if (!points[name]) return { ...next, [name]: projected(to, still, across, aspect) };
    return { ...next, [other]: projected(still, to, across, aspect) };
  }
  const { C, D } = next;
  if ((name === "A" || name === "B") && C && D && isPerpendicular(points, aspect)) {
    const middle = { x: (C.x + D.x) / 2, y: (C.y + D.y) / 2 };
    const half = Math.hypot(D.x - C.x, aspect * (D.y - C.y)) / 2;
    const sign = Math.sign((D.x - C.x) * across.x + aspect * (D.y - C.y) * across.y) || 1;
    const [dx, dy] = [sign * half * across.x, (sign * half * across.y) / aspect];
    return { ...next, C: { x: middle.x - dx, y: middle.y - dy }, D: { x: middle.x + dx, y: middle.y + dy } };
  }
  return next;
}

/** Whether the short axis stands on the long one; also where either is missing or has no length. */
export function isPerpendicular(points: Points, aspect: number): boolean {
  return deviation(points, aspect) <= PERPENDICULAR;
}

/** Returns by what angle in radians the short axis is off the perpendicular; 0 where an axis is missing. */
export function deviation({ A, B, C, D }: Points, aspect: number): number {
  if (!A || !B || !C || !D || same(A, B) || same(C, D)) return 0;
  const across = perpendicular(A, B, aspect);
  const [x, y] = [D.x - C.x, aspect * (D.y - C.y)];
  return Math.acos(Math.min(1, Math.abs(x * across.x + y * across.y) / Math.hypot(x, y)));
}

/** Returns the points, each at the nearest place inside an image. */
export function inside(points: Points, width: number, height: number): Points {
  const clamp = (value: number, side: number) => Math.min(Math.max(value, -0.5), side - 0.5);
  return Object.fromEntries(
    Object.entries(points).map(([name, { x, y }]) => [name, { x: clamp(x, width), y: clamp(y, height) }]),
  );
}

/** Returns the direction across A-B, of length 1 in square pixels. */
function perpendicular(a: Point, b: Point, aspect: number): Point {
  const [x, y] = [b.x - a.x, aspect * (b.y - a.y)];
  const length = Math.hypot(x, y);
  return { x: -y / length, y: x / length };
}

function projected(point: Point, through: Point, direction: Point, aspect: number): Point {
  const along = (point.x - through.x) * direction.x + aspect * (point.y - through.y) * direction.y;
  return { x: through.x + along * direction.x, y: through.y + (along * direction.y) / aspect };
}

function same(one: Point, other: Point): boolean {
  return one.x === other.x && one.y === other.y;
}
