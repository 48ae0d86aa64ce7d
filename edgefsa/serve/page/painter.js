// Paints a mask over its frame. Both painters have the same face:
//   classes(colours)         [[r, g, b], ...] by class index
//   frame(bitmap, mask)      mask: {width, height, indices: Uint8Array}
//   paint(look)              {opacity: 0..1, split: 0..1, contours, visible: [bool, ...]}

const VERTEX = `#version 300 es
out vec2 at;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  at = corner;
  gl_Position = vec4(corner.x * 2.0 - 1.0, 1.0 - corner.y * 2.0, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp usampler2D;
uniform sampler2D frame;
uniform usampler2D mask;
uniform sampler2D palette;
uniform float opacity, split;
uniform vec2 line;
in vec2 at;
out vec4 colour;

int classAt(vec2 place) {
  ivec2 size = textureSize(mask, 0);
  return int(texelFetch(mask, clamp(ivec2(place * vec2(size)), ivec2(0), size - 1), 0).r);
}

void main() {
  vec3 seen = texture(frame, at).rgb;
  if (at.x >= split) {
    int here = classAt(at);
    vec4 paint = texelFetch(palette, ivec2(here, 0), 0);
    seen = mix(seen, paint.rgb, opacity * paint.a);
    if (line.x > 0.0) {
      int right = classAt(at + vec2(line.x, 0.0)), below = classAt(at + vec2(0.0, line.y));
      float beside = max(texelFetch(palette, ivec2(right, 0), 0).a, texelFetch(palette, ivec2(below, 0), 0).a);
      if ((here != right || here != below) && max(paint.a, beside) > 0.0) seen = seen / 3.0 + 0.63;
    }
  }
  colour = vec4(seen, 1.0);
}`;

class WebGlPainter {
  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    this.colours = [];
    this.shown = null;
    this.build();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.build();
      if (this.shown) this.frame(...this.shown);
    });
  }

  build() {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.uniforms = {};
    ["frame", "mask", "palette"].forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      const filter = name === "frame" ? gl.LINEAR : gl.NEAREST;
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
      gl.uniform1i(gl.getUniformLocation(program, name), unit);
    });
    for (const name of ["opacity", "split", "line"]) this.uniforms[name] = gl.getUniformLocation(program, name);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  classes(colours) {
    this.colours = colours;
  }

  frame(bitmap, mask) {
    const gl = this.gl;
    this.shown = [bitmap, mask];
    this.canvas.width = bitmap.width;
    this.canvas.height = bitmap.height;
    gl.activeTexture(gl.TEXTURE0);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.activeTexture(gl.TEXTURE1);
    gl.texImage2D(
      gl.TEXTURE_2D, 0, gl.R8UI, mask.width, mask.height, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, mask.indices);
  }

  paint(look) {
    const gl = this.gl;
    gl.activeTexture(gl.TEXTURE2);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, rgba(this.colours, look.visible));
    gl.uniform1f(this.uniforms.opacity, look.opacity);
    gl.uniform1f(this.uniforms.split, look.split);
    const reach = look.contours ? lineWidth(this.canvas.height) : 0;
    gl.uniform2f(this.uniforms.line, reach / this.canvas.width, reach / this.canvas.height);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}

class CanvasPainter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.layer = document.createElement("canvas");
    this.colours = [];
  }

  classes(colours) {
    this.colours = colours;
  }

  frame(bitmap, mask) {
    this.canvas.width = bitmap.width;
    this.canvas.height = bitmap.height;
    this.bitmap = bitmap;
    this.mask = mask;
  }

  paint(look) {
    const { context, canvas, layer } = this;
    context.drawImage(this.bitmap, 0, 0);
    layer.width = this.mask.width;
    layer.height = this.mask.height;
    layer.getContext("2d").putImageData(this.layerPixels(look), 0, 0);
    const left = Math.round(look.split * canvas.width);
    context.save();
    context.beginPath();
    context.rect(left, 0, canvas.width - left, canvas.height);
    context.clip();
    context.imageSmoothingEnabled = false;
    context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    context.restore();
  }

  layerPixels(look) {
    const { width, height, indices } = this.mask;
    const colours = new Uint32Array(rgba(this.colours, look.visible, look.opacity).buffer);
    const visible = rgba(this.colours, look.visible);
    const pixels = new Uint32Array(width * height);
    const white = 0xa0ffffff; // little-endian A B G R
    for (let place = 0, y = 0; y < height; y++) {
      for (let x = 0; x < width; x++, place++) {
        const here = indices[place];
        pixels[place] = colours[here];
        if (!look.contours) continue;
        const right = x + 1 < width ? indices[place + 1] : here;
        const below = y + 1 < height ? indices[place + width] : here;
        const shows = visible[4 * here + 3] || visible[4 * right + 3] || visible[4 * below + 3];
        if ((here !== right || here !== below) && shows) pixels[place] = white;
      }
    }
    return new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
  }
}

// Colours of all 256 indices; those without a class, or of a class that is switched off, are transparent.
function rgba(colours, visible, opacity = 1) {
  const bytes = new Uint8Array(4 * 256);
  colours.forEach((colour, index) => bytes.set([...colour, visible[index] ? Math.round(255 * opacity) : 0], 4 * index));
  return bytes;
}

function lineWidth(height) {
  return 1 + Math.round(height / 1080);
}

export function createPainter(canvas) {
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, powerPreference: "low-power" });
  return gl ? new WebGlPainter(canvas, gl) : new CanvasPainter(canvas);
}
