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
in vec2 corner;
uniform vec2 stage;
uniform vec4 box;
uniform vec4 shares;
out vec2 share;
void main() {
  vec2 place = box.xy + corner * box.zw;
  share = shares.xy + place * shares.zw;
  gl_Position = vec4(vec2(2.0, -2.0) * place / stage + vec2(-1.0, 1.0), 0.0, 1.0);
}`;

// The card itself takes means between pixels: on a machine without one, in a third of the time that it takes here.
const COLOURS = `#version 300 es
precision highp float;
precision highp sampler2D;
uniform sampler2D pixels;
uniform float level;
uniform vec2 greys;
in vec2 share;
out vec4 colour;
void main() {
  float grey = (textureLod(pixels, share, level).r - greys.x) * greys.y;
  bool inside = all(equal(share, clamp(share, 0.0, 1.0)));
  colour = inside ? vec4(vec3(grey), 1.0) : vec4(0.07, 0.08, 0.09, 1.0);
}`;

const UNIFORMS = ["stage", "box", "shares", "level", "greys"] as const;

// The stage as a strip of two triangles, the lens as a fan of some more.
const SQUARE = [-1, -1, 1, -1, -1, 1, 1, 1];
const EDGES = 96;
const CIRCLE = Array.from({ length: EDGES }, (_, edge) => (2 * Math.PI * edge) / EDGES).flatMap((angle) => [
  Math.cos(angle),
  Math.sin(angle),
]);

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
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false });
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
    // Some tablets can't take means of 32 bits; 16 hold 2048 greys between a half and one.
    const format = gl.getExtension("OES_texture_float_linear") ? gl.R32F : gl.R16F;
    const kept = image.pixels.slice(skipped);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, kept.length, format, image.width >> skipped, image.height >> skipped);
    for (const [level, pixels] of kept.entries()) {
      const [width, height] = [image.width >> (level + skipped), image.height >> (level + skipped)];
      const shares = shared(pixels, 2 ** image.bits - 1);
      gl.texSubImage2D(gl.TEXTURE_2D, level, 0, 0, width, height, gl.RED, gl.FLOAT, shares);
    }
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    this.textures.set(image, texture);
    return texture;
  }

  /** Draws what is shown. */
  draw(view: Viewport, window: Window, inverted: boolean, lens: Lens | undefined): void {
    if (!this.image) return;
    const { gl, places } = this;
    const { width, height } = this.canvas;
    gl.viewport(0, 0, width, height);
    gl.uniform2f(places.stage, width, height);
    const rise = (inverted ? -1 : 1) / window.width;
    gl.uniform2f(places.greys, window.centre - 0.5 / rise, rise);
    const middle = { x: width / this.dots.x / 2, y: height / this.dots.y / 2 };
    this.fill(view, { at: middle, zoom: 1 }, middle, [gl.TRIANGLE_STRIP, 0, 4]);
    if (!lens) return;
    this.fill(view, lens, { x: lens.radius, y: lens.radius }, [gl.TRIANGLE_FAN, 4, EDGES]);
  }

  /** Fills a shape with what lies about a place, larger than elsewhere. */
  private fill(
    view: Viewport,
    { at, zoom }: Pick<Lens, "at" | "zoom">,
    half: Point,
    shape: readonly [number, number, number],
  ): void {
    const { gl, places, dots, skipped } = this;
    const { width, height } = this.image as Levels;
    const [across, down] = [1 / (view.zoom * zoom * dots.x), 1 / (view.zoom * zoom * view.aspect * dots.y)];
    const level = this.level(across / 2 ** skipped);
    // A level leaves out the last row and column of one that has an odd number.
    const [columns, rows] = [width, height].map((side) => (side >> (level + skipped)) << (level + skipped)) as [
      number,
      number,
    ];
    const seen = view.toImage(at);
    const [x, y] = [at.x * dots.x, at.y * dots.y];
    gl.uniform1f(places.level, level);
    gl.uniform4f(places.box, x, y, half.x * dots.x, half.y * dots.y);
    gl.uniform4f(
      places.shares,
      (seen.x + 0.5 - x * across) / columns,
      (seen.y + 0.5 - y * down) / rows,
      across / columns,
      down / rows,
    );
    gl.drawArrays(...shape);
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
    gl.bindAttribLocation(program, 0, "corner");
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([...SQUARE, ...CIRCLE]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    this.textures.clear();
    this.places = Object.fromEntries(
      UNIFORMS.map((name) => [name, gl.getUniformLocation(program, name)]),
    ) as typeof this.places;
  }
}

/** Returns grey levels as shares of the whole range. */
function shared(levels: Uint8Array | Uint16Array, whole: number): Float32Array {
  const shares = new Float32Array(levels.length);
  for (let place = 0; place < levels.length; place++) shares[place] = (levels[place] as number) / whole;
  return shares;
}
