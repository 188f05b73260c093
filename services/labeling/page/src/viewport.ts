import type { Point } from "./geometry.ts";

const MOST_ZOOM = 32; // screen pixels for one of the image's

/** Which part of an image is on the screen, and how large. Screen coordinates are CSS pixels of the stage. */
export class Viewport {
  private scale = 1; // screen pixels for one of the image's columns
  private left = 0; // where on the screen the image begins
  private top = 0;

  constructor(
    readonly width: number,
    readonly height: number,
    readonly aspect: number,
    private stage: { width: number; height: number },
  ) {
    this.fit();
  }

  /** Screen pixels for one column of the image. */
  get zoom(): number {
    return this.scale;
  }

  /** Shows the whole image. */
  fit(): void {
    this.scale = this.fitting;
    this.left = (this.stage.width - this.scale * this.width) / 2;
    this.top = (this.stage.height - this.scale * this.aspect * this.height) / 2;
  }

  /** Takes the stage's new size; a whole image stays whole. */
  resize(stage: { width: number; height: number }): void {
    const whole = this.scale === this.fitting;
    const middle = this.toImage({ x: this.stage.width / 2, y: this.stage.height / 2 });
    this.stage = stage;
    if (whole) {
      this.fit();
    } else {
      const now = this.toScreen(middle);
      this.pan(stage.width / 2 - now.x, stage.height / 2 - now.y);
    }
  }

  /** Zooms so that what is at a place of the screen stays there. */
  zoomAt(place: Point, factor: number): void {
    const scale = Math.min(Math.max(this.scale * factor, this.fitting / 2), MOST_ZOOM);
    const change = scale / this.scale;
    this.left = place.x - change * (place.x - this.left);
    this.top = place.y - change * (place.y - this.top);
    this.scale = scale;
  }

  pan(x: number, y: number): void {
    this.left += x;
    this.top += y;
  }

  toScreen({ x, y }: Point): Point {
    return { x: this.left + (x + 0.5) * this.scale, y: this.top + (y + 0.5) * this.scale * this.aspect };
  }

  toImage({ x, y }: Point): Point {
    return { x: (x - this.left) / this.scale - 0.5, y: (y - this.top) / (this.scale * this.aspect) - 0.5 };
  }

  private get fitting(): number {
    return Math.min(this.stage.width / this.width, this.stage.height / (this.height * this.aspect));
  }
}
