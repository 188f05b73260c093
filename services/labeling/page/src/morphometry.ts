/** How a heart is shaped and where it lies, in vertebrae, and what of it no dog's heart has: as the library has it. */

import type { Limits } from "./api.ts";
import { type Point, type Points, VERTEBRAE } from "./geometry.ts";

/** Returns a sentence for each figure of six points that no dog's heart has; none where one is missing. */
export function implausible(points: Points, aspect: number, limits: Readonly<Record<string, Limits>>): string[] {
  const figures = morphometry(points, aspect);
  if (!figures) return [];
  return Object.entries(figures).flatMap(([name, value]) => {
    const { what, lowest, highest, unit } = limits[name] as Limits;
    if (lowest <= value && value <= highest) return [];
    const said = (one: number) => one.toFixed(2);
    return [`${what} is ${said(value)}${unit}: ${said(lowest)} to ${said(highest)} are plausible in a dog.`];
  });
}

/** Returns the library's figures: from E, along the spine and to the side on which the apex lies. */
function morphometry({ A, B, C, D, E, F }: Points, aspect: number): Record<string, number> | undefined {
  if (!A || !B || !C || !D || !E || !F) return undefined;
  const spine = { x: F.x - E.x, y: aspect * (F.y - E.y) };
  const length = Math.hypot(spine.x, spine.y);
  const [x, y] = [spine.x / length, spine.y / length];
  const seen = (point: Point, side: number): Point => {
    const [dx, dy] = [point.x - E.x, aspect * (point.y - E.y)];
    const vertebra = length / VERTEBRAE;
    return { x: (dx * x + dy * y) / vertebra, y: (side * (dy * x - dx * y)) / vertebra };
  };
  const side = seen(B, 1).y < 0 ? -1 : 1;
  const [a, b, c, d] = [A, B, C, D].map((point) => seen(point, side)) as [Point, Point, Point, Point];
  const [long, short] = [minus(b, a), minus(d, c)];
  return {
    axis_angle: (Math.atan2(long.y, long.x) * 180) / Math.PI,
    axis_ratio: Math.hypot(short.x, short.y) / Math.hypot(long.x, long.y),
    long_crossing: crossing(a, long, c, short),
    short_crossing: crossing(c, short, a, long),
    carina_along: a.x,
    carina_ventral: a.y,
    apex_along: b.x,
    apex_ventral: b.y,
  };
}

/** Returns the share of a line, from its start, at which another crosses it. */
function crossing(start: Point, line: Point, other: Point, across: Point): number {
  const parallel = line.x * across.y - line.y * across.x;
  const gap = minus(other, start);
  return parallel === 0 ? Number.POSITIVE_INFINITY : (gap.x * across.y - gap.y * across.x) / parallel;
}

function minus(to: Point, from: Point): Point {
  return { x: to.x - from.x, y: to.y - from.y };
}
