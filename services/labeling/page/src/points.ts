/** Points as the service has them. */

import { NAMES, type Name, type Point, type Points } from "./geometry.ts";
import type { KeyPointsJson } from "./protos/canicor/measurement/v1/measurement_pb.ts";

type Field = Lowercase<Name>;

export function pointsOf(message: KeyPointsJson): Points {
  const named = NAMES.map((name) => {
    const { x = 0, y = 0 } = message[name.toLowerCase() as Field] ?? {};
    return [name, { x: Number(x), y: Number(y) }];
  });
  return Object.fromEntries(named);
}

/** @param points All six. */
export function messageOf(points: Points): KeyPointsJson {
  return Object.fromEntries(NAMES.map((name) => [name.toLowerCase(), points[name] as Point]));
}
