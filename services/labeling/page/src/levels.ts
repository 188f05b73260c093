import type { Pixels, Window } from "./api.ts";

/** An image's grey levels, and the same at a half, a quarter, ... of the size, for a picture without moire. */
export interface Levels {
  readonly width: number;
  readonly height: number;
  readonly bits: 8 | 16;
  /** A pixel's height over its width. */
  readonly aspect: number;
  /** As the file asks to be shown. */
  readonly window: Window;
  /** Level n has floor(width / 2^n) columns and floor(height / 2^n) rows. */
  readonly pixels: readonly (Uint8Array | Uint16Array)[];
}

const SMALLEST_SIDE = 128;

/** Returns the levels of an image's pixels, row by row. */
export function levels({ pixels: whole, width, height, aspect, window }: Pixels): Levels {
  if (whole.length !== width * height) throw new RangeError(`${whole.length} pixels are not ${width} x ${height}`);
  const pixels = [whole];
  for (let level = 1; Math.min(width, height) >> level >= SMALLEST_SIDE; level++) {
    pixels.push(halved(pixels[level - 1] as Uint8Array, width >> (level - 1), width >> level, height >> level));
  }
  return { width, height, bits: whole.BYTES_PER_ELEMENT === 1 ? 8 : 16, aspect, window, pixels };
}

/** Returns the mean of each four pixels. */
function halved<Pixels extends Uint8Array | Uint16Array>(
  from: Pixels,
  stride: number,
  columns: number,
  rows: number,
): Pixels {
  const to = new (from.constructor as new (length: number) => Pixels)(columns * rows);
  for (let row = 0, place = 0; row < rows; row++) {
    let source = 2 * row * stride;
    for (let column = 0; column < columns; column++, source += 2, place++) {
      const above = (from[source] as number) + (from[source + 1] as number);
      const below = (from[source + stride] as number) + (from[source + stride + 1] as number);
      to[place] = (above + below + 2) >> 2;
    }
  }
  return to;
}
