/** Draws a radiograph by WebGL 2: any zoom, any window, a lens; the pixels stay what they are. */

import type { Window } from "./api.ts";
import type { Point } from "./geometry.ts";
import type { Levels } from "./levels.ts";
import type { Viewport } from "./viewport.ts";

export interface Lens {
  /** On the screen, in CSS pixels. */
  readonly at: Point;
  readonly radius: number;
  readonly zoom: number;
}

const CORNERS = `#version 300 es
void main() {
  // One triangle that covers the stage.
  gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

// Whole numbers of 16 bits can't be interpolated by the hardware.
const COLOURS = `#version 300 es
precision highp float;
precision highp usampler2D;
uniform usampler2D pixels;
uniform vec2 size;
uniform float rows;
uniform vec4 view;
uniform vec2 greys;
uniform bool inverted;
uniform ivec2 levels;
uniform vec4 lens;
out vec4 colour;

float at(ivec2 place, ivec2 last, int level) {
  return float(texelFetch(pixels, clamp(place, ivec2(0), last), level).r);
}

void main() {
  vec2 screen = vec2(gl_FragCoord.x, rows - gl_FragCoord.y);
  vec2 away = screen - lens.xy;
  bool through = dot(away, away) < lens.z * lens.z;
  int level = through ? levels.y : levels.x;
  vec2 place = view.xy + (through ? lens.xy + away / lens.w : screen) * view.zw;
  if (any(lessThan(place, vec2(0.0))) || any(greaterThan(place, size))) {
    colour = vec4(0.07, 0.08, 0.09, 1.0);
    return;
  }
  ivec2 last = textureSize(pixels, level) - 1;
  vec2 scaled = place / float(1 << level) - 0.5;
  ivec2 cell = ivec2(floor(scaled));
  vec2 part = scaled - vec2(cell);
  float above = mix(at(cell, last, level), at(cell + ivec2(1, 0), last, level), part.x);
  float below = mix(at(cell + ivec2(0, 1), last, level), at(cell + ivec2(1, 1), last, level), part.x);
  float grey = clamp((mix(above, below, part.y) - greys.x) * greys.y, 0.0, 1.0);
  colour = vec4(vec3(inverted ? 1.0 - grey : grey), 1.0);
}`;

const UNIFORMS = ["size", "rows", "view", "greys", "inverted", "levels", "lens"] as const;

/** A canvas that shows one image at a time. */
export class Picture {
  private readonly gl: WebGL2RenderingContext;
  private places!: Record<(typeof UNIFORMS)[number], WebGLUniformLocation | null>;
  private readonly textures = new Map<Levels, WebGLTexture>();
  private image: Levels | undefined;
  private skipped = 0;
  private dots: Point = { x: 1, y: 1 }; // of the screen, for one CSS pixel

  /**
   * @param restored Called when the machine gave the graphics card back, for what was drawn is gone.
   * @throws Error: The browser has no WebGL 2.
   */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    restored: () => void,
  ) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, desynchronized: true });
    if (!gl) throw new Error("This browser has no WebGL 2, by which radiographs are drawn: try another.");
    this.gl = gl;
    this.compile();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.compile();
      if (this.image) this.show(this.image);
      restored();
    });
  }

  /** Shows an image; the graphics card forgets all others. */
  show(image: Levels): void {
    const { gl } = this;
    this.image = image;
    this.skipped = this.beyond(image);
    gl.bindTexture(gl.TEXTURE_2D, this.taken(image));
    for (const [other, texture] of this.textures) {
      if (other === image) continue;
      gl.deleteTexture(texture);
      this.textures.delete(other);
    }
  }

  /** Takes an image to the graphics card that is shown next: that takes a while. */
  prepare(image: Levels): void {
    const shown = this.image && this.taken(this.image);
    this.taken(image);
    if (shown) this.gl.bindTexture(this.gl.TEXTURE_2D, shown);
  }

  /** Returns how often an image is halved until the card can hold it. */
  private beyond(image: Levels): number {
    const most = this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE) as number;
    let skipped = 0;
    while (Math.max(image.width, image.height) >> skipped > most) skipped++;
    return skipped;
  }

  private taken(image: Levels): WebGLTexture {
    const known = this.textures.get(image);
    if (known) return known;
    const { gl } = this;
    const texture = gl.createTexture();
    const skipped = this.beyond(image);
    const [format, type] =
      image.bits === 8 ? ([gl.R8UI, gl.UNSIGNED_BYTE] as const) : ([gl.R16UI, gl.UNSIGNED_SHORT] as const);
    const kept = image.pixels.slice(skipped);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texStorage2D(gl.TEXTURE_2D, kept.length, format, image.width >> skipped, image.height >> skipped);
    for (const [level, pixels] of kept.entries()) {
      const [width, height] = [image.width, image.height].map((side) => side >> (level + skipped));
      gl.texSubImage2D(
        gl.TEXTURE_2D,
        level,
        0,
        0,
        width as number,
        height as number,
        gl.RED_INTEGER,
        type,
        pixels,
      );
    }
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST_MIPMAP_NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    this.textures.set(image, texture);
    return texture;
  }

  /** Draws what is shown. */
  draw(view: Viewport, window: Window, inverted: boolean, lens: Lens | undefined): void {
    if (!this.image) return;
    const { gl, places, image } = this;
    const { x: dots, y: dotsDown } = this.dots;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    const half = 2 ** -this.skipped;
    const origin = view.toImage({ x: 0, y: 0 });
    const [step, down] = [half / (view.zoom * dots), half / (view.zoom * view.aspect * dotsDown)];
    gl.uniform2f(places.size, image.width * half, image.height * half);
    gl.uniform1f(places.rows, this.canvas.height);
    gl.uniform4f(places.view, (origin.x + 0.5) * half, (origin.y + 0.5) * half, step, down);
    const whole = 2 ** image.bits - 1;
    gl.uniform2f(places.greys, (window.centre - window.width / 2) * whole, 1 / (window.width * whole));
    gl.uniform1i(places.inverted, Number(inverted));
    gl.uniform2i(places.levels, this.level(step), this.level(step / (lens?.zoom ?? 1)));
    const { at, radius, zoom } = lens ?? { at: { x: 0, y: 0 }, radius: 0, zoom: 1 };
    gl.uniform4f(places.lens, at.x * dots, at.y * dotsDown, radius * dots, zoom);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** Fits the canvas to its place on the page; returns its size in CSS pixels. */
  resize(): { width: number; height: number } {
    const { width, height } = this.canvas.getBoundingClientRect();
    this.canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
    this.canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
    this.dots = { x: this.canvas.width / width, y: this.canvas.height / height };
    return { width, height };
  }

  /** Returns the level whose pixels are nearest to the screen's, and no larger. */
  private level(pixelsPerDot: number): number {
    const most = (this.image as Levels).pixels.length - 1 - this.skipped;
    return Math.min(Math.max(Math.floor(Math.log2(pixelsPerDot)), 0), most);
  }

  private compile(): void {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, CORNERS],
      [gl.FRAGMENT_SHADER, COLOURS],
    ] as const) {
      const shader = gl.createShader(kind) as WebGLShader;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.textures.clear();
    this.places = Object.fromEntries(
      UNIFORMS.map((name) => [name, gl.getUniformLocation(program, name)]),
    ) as typeof this.places;
  }
}
