"use strict";
// A sweep in 3D: points coloured by class, error, features or their similarity to a chosen point.
// WebGL without a library: a cloud needs one shader and one draw call, and three.js would add 700 kB
// and a build step. Data, as sweeps.py writes them: coordinates are int16 multiples of a step,
// features int8 codes times a scale a dimension, all little-endian in base64.
(() => {
  const HOME = { yaw: -2.2, pitch: 0.55, distance: 32 }; // radians, metres
  const PITCH = [-0.2, 1.55], DISTANCE = [1.5, 400], FIELD = 0.9; // radians
  const REACH = 16; // pixels around a click
  const TAILS = 0.02; // share of the similarities at either end that has the end colour

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const clamp = (value, [low, high]) => Math.min(Math.max(value, low), high);
  const hex = (colour) => `rgb(${colour.join(" ")})`;

  /** Places (3N) in metres and reduced unit features (N x D), as numbers. */
  function unpack(sweep) {
    const codes = new Int16Array(bytes(sweep.xyz).buffer);
    const xyz = Float32Array.from(codes, (code, n) => code * sweep.step + sweep.middle[n % 3]);
    if (!sweep.features) return { ...sweep, xyz, unit: null };
    const { dimensions, scales } = sweep.features;
    const small = new Int8Array(bytes(sweep.features.codes).buffer);
    const unit = Float32Array.from(small, (code, n) => code * scales[n % dimensions]);
    return { ...sweep, xyz, unit, dimensions };
  }

  /** Cosine (N) of the features of all points to that of one: of unit features the inner product,
   *  which their first principal dimensions keep best as it is. */
  function similarityTo({ unit, dimensions, count }, point) {
    const own = unit.subarray(point * dimensions, (point + 1) * dimensions);
    return Float32Array.from({ length: count }, (_, other) => {
      let sum = 0;
      for (let d = 0, n = other * dimensions; d < dimensions; d++, n++) sum += own[d] * unit[n];
      return sum;
    });
  }

  /** Product of two 4 x 4 matrices, column by column. */
  function product(a, b) {
    const out = new Float32Array(16);
    for (let column = 0; column < 4; column++)
      for (let row = 0; row < 4; row++)
        for (let k = 0; k < 4; k++) out[4 * column + row] += a[4 * k + row] * b[4 * column + k];
    return out;
  }

  const VERTEX = `
    attribute vec3 place; attribute vec4 colour;
    uniform mat4 camera; uniform float size;
    varying vec3 shown;
    void main() {
      gl_Position = colour.a < 0.5 ? vec4(2.0, 2.0, 2.0, 1.0) : camera * vec4(place, 1.0);
      gl_PointSize = clamp(size / gl_Position.w, 1.5, 60.0);
      shown = colour.rgb;
    }`;
  const FRAGMENT = `
    precision mediump float;
    varying vec3 shown;
    void main() {
      vec2 across = gl_PointCoord - 0.5;
      if (dot(across, across) > 0.25) discard;
      gl_FragColor = vec4(shown, 1.0);
    }`;

  function program(gl) {
    const made = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    gl.useProgram(made);
    return made;
  }

  class View {
    constructor(root, data, gl) {
      this.root = root;
      this.gl = gl;
      this.canvas = root.querySelector("canvas");
      this.target = root.querySelector(".target");
      this.sweeps = data.sweeps;
      this.viridis = bytes(data.viridis);
      this.program = program(gl);
      this.buffers = { place: gl.createBuffer(), colour: gl.createBuffer() };
      this.uniforms = {
        camera: gl.getUniformLocation(this.program, "camera"),
        size: gl.getUniformLocation(this.program, "size"),
      };
      gl.enable(gl.DEPTH_TEST);
      this.pointSize = 1;
      this.mode = null;
      this.listen();
      this.open(0);
      new ResizeObserver(() => this.draw()).observe(this.canvas);
    }

    // --- what is shown -------------------------------------------------------------------------

    open(number) {
      const { gl } = this;
      this.sweep = unpack(this.sweeps[number]);
      this.picked = this.similarity = this.colours = null;
      this.hidden = new Set();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.place);
      gl.bufferData(gl.ARRAY_BUFFER, this.sweep.xyz, gl.STATIC_DRAW);
      for (const fact of this.root.querySelectorAll("[data-sweep]"))
        fact.hidden = Number(fact.dataset.sweep) !== number;
      const modes = this.sweep.colourings.map(({ key, name }) => ({ key, name }));
      if (this.sweep.unit) modes.push({ key: "similarity", name: "similarity" });
      this.offer(modes);
      this.reset();
      const kept = modes.some(({ key }) => key === this.mode) ? this.mode : modes[0].key;
      this.colourBy(kept);
      this.canvas.setAttribute("aria-label", `3D view of ${this.sweep.title}`);
    }

    offer(modes) {
      const box = this.root.querySelector(".colouring > div");
      box.replaceChildren(...modes.map(({ key, name }) => {
        const label = document.createElement("label"), input = document.createElement("input");
        Object.assign(input, { type: "radio", name: "colouring", value: key });
        input.addEventListener("change", () => this.colourBy(key));
        label.append(input, name);
        return label;
      }));
    }

    colourBy(key) {
      this.mode = key;
      this.hidden.clear();
      this.root.querySelector(`.colouring input[value="${key}"]`).checked = true;
      if (key === "similarity" && this.picked === null) this.pick(this.nearest(0.5, 0.5, Infinity));
      else this.repaint();
      this.tell();
    }

    /** Colours of all points, four bytes each; the last is 0 where a point is hidden. */
    repaint() {
      const { gl, sweep } = this;
      const colours = new Uint8Array(4 * sweep.count).fill(255);
      const paint = this.mode === "similarity" ? this.bySimilarity() : this.byColouring();
      for (let point = 0; point < sweep.count; point++) paint(colours, point, 4 * point);
      this.colours = colours;
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.colour);
      gl.bufferData(gl.ARRAY_BUFFER, colours, gl.DYNAMIC_DRAW);
      this.draw();
    }

    bySimilarity() {
      const ordered = Float32Array.from(this.similarity).sort();
      const at = (share) => ordered[Math.round(share * (ordered.length - 1))];
      const low = at(TAILS), high = at(1 - TAILS), width = Math.max(high - low, 1e-12);
      this.scale(low, high);
      return (colours, point, n) => {
        const level = Math.round(255 * clamp((this.similarity[point] - low) / width, [0, 1]));
        colours.set(this.viridis.subarray(3 * level, 3 * level + 3), n);
      };
    }

    byColouring() {
      const colouring = this.sweep.colourings.find(({ key }) => key === this.mode);
      if (colouring.rgb) {
        const rgb = bytes(colouring.rgb);
        this.legend(colouring.words);
        return (colours, point, n) => colours.set(rgb.subarray(3 * point, 3 * point + 3), n);
      }
      const values = bytes(colouring.values);
      this.classes(colouring.legend, values);
      return (colours, point, n) => {
        colours.set(colouring.legend[values[point]].colour, n);
        if (this.hidden.has(values[point])) colours[n + 3] = 0;
      };
    }

    // --- legends and words -----------------------------------------------------------------------

    legend(...parts) {
      this.root.querySelector(".legend").replaceChildren(...parts);
    }

    scale(low, high) {
      const bar = document.createElement("span"), stops = [];
      for (let n = 0; n < 256; n += 15) stops.push(hex(this.viridis.subarray(3 * n, 3 * n + 3)));
      bar.className = "scale";
      bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
      this.legend(`cosine ${low.toFixed(2)}`, bar, high.toFixed(2));
    }

    classes(entries, values) {
      const counts = new Uint32Array(256);
      values.forEach((value) => counts[value]++);
      const focus = document.activeElement?.dataset?.entry;
      this.legend(...entries.flatMap(({ name, colour }, number) => {
        if (!counts[number]) return [];
        const button = document.createElement("button"), swatch = document.createElement("span");
        const share = (100 * counts[number]) / this.sweep.count;
        Object.assign(button, { type: "button", title: "show or hide" });
        button.dataset.entry = number;
        button.setAttribute("aria-pressed", String(!this.hidden.has(number)));
        swatch.className = "swatch";
        swatch.style.background = hex(colour);
        button.append(swatch, `${name} ${share < 0.1 ? "<0.1" : share.toFixed(1)} %`);
        button.addEventListener("click", () => {
          if (!this.hidden.delete(number)) this.hidden.add(number);
          this.repaint();
        });
        return [button];
      }));
      if (focus) this.root.querySelector(`.legend [data-entry="${focus}"]`)?.focus();
    }

    /** What is known of the chosen point, or how one is chosen. */
    tell() {
      const status = this.root.querySelector(".status");
      if (this.picked === null) {
        status.textContent = this.sweep.unit
          ? "Click a point to compare all others with it." : "Click a point to read what it is.";
        return;
      }
      const place = this.sweep.xyz.subarray(3 * this.picked, 3 * this.picked + 3);
      const facts = this.sweep.colourings.filter(({ values }) => values).map((colouring) => {
        const entry = colouring.legend[bytes(colouring.values)[this.picked]];
        return `${colouring.name}: ${entry.name}`;
      });
      const where = `Point at x ${place[0].toFixed(1)}, y ${place[1].toFixed(1)}, z ${place[2].toFixed(1)} m`;
      const hint = this.sweep.unit && this.mode !== "similarity"
        ? ". Colour by similarity to compare all others with it." : ".";
      status.textContent = [where, ...facts].join(", ") + hint;
    }

    // --- camera ----------------------------------------------------------------------------------

    reset() {
      Object.assign(this, HOME, { centre: [0, 0, 0] });
      this.draw();
    }

    /** Directions of the camera in the sweep's frame: to the right, up, and backwards. */
    axes() {
      const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
      return [[-sy, cy, 0], [-cy * sp, -sy * sp, cp], [cy * cp, sy * cp, sp]];
    }

    matrix() {
      const axes = this.axes(), view = new Float32Array(16);
      axes.forEach((axis, row) => {
        axis.forEach((value, column) => (view[4 * column + row] = value));
        view[12 + row] = -axis.reduce((sum, value, n) => sum + value * this.centre[n], 0);
      });
      view[14] -= this.distance;
      view[15] = 1;
      const [near, far] = [0.2, 2000], f = 1 / Math.tan(FIELD / 2);
      const aspect = this.canvas.clientWidth / Math.max(this.canvas.clientHeight, 1);
      const lens = new Float32Array(16);
      // The field of view holds for the shorter side, so that a telephone held upright sees as much.
      lens[0] = f / Math.max(aspect, 1);
      lens[5] = f * Math.min(aspect, 1);
      lens[10] = (far + near) / (near - far);
      lens[11] = -1;
      lens[14] = (2 * far * near) / (near - far);
      return product(lens, view);
    }

    /** Pixel of a point in the canvas, and its depth; null behind the camera. */
    project(point, matrix = this.matrix()) {
      const [x, y, z] = this.sweep.xyz.subarray(3 * point, 3 * point + 3);
      const row = (n) => matrix[n] * x + matrix[4 + n] * y + matrix[8 + n] * z + matrix[12 + n];
      const depth = row(3);
      if (depth <= 0.2) return null;
      const { clientWidth: width, clientHeight: height } = this.canvas;
      return [((row(0) / depth + 1) / 2) * width, ((1 - row(1) / depth) / 2) * height, depth];
    }

    turn(yaw, pitch) {
      this.yaw += yaw;
      this.pitch = clamp(this.pitch + pitch, PITCH);
      this.draw();
    }

    shift(right, up) {
      const [across, above] = this.axes();
      const metres = (2 * Math.tan(FIELD / 2) * this.distance) / this.canvas.clientHeight;
      this.centre = this.centre.map((value, n) => value + metres * (right * across[n] + up * above[n]));
      this.draw();
    }

    zoom(factor) {
      this.distance = clamp(this.distance * factor, DISTANCE);
      this.draw();
    }

    /** Draw once in the next animation frame, however often it is asked for. */
    draw() {
      this.waiting ??= requestAnimationFrame(() => {
        this.waiting = null;
        this.render();
      });
    }

    render() {
      const { gl, canvas } = this, ratio = Math.min(window.devicePixelRatio || 1, 2);
      const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      gl.viewport(0, 0, width, height);
      gl.clearColor(0.067, 0.078, 0.09, 1);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      const matrix = this.matrix();
      gl.uniformMatrix4fv(this.uniforms.camera, false, matrix);
      gl.uniform1f(this.uniforms.size, this.pointSize * 0.19 * Math.min(width, height));
      const attribute = (name, size, type, normalised) => {
        const place = gl.getAttribLocation(this.program, name);
        gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
        gl.enableVertexAttribArray(place);
        gl.vertexAttribPointer(place, size, type, normalised, 0, 0);
      };
      attribute("place", 3, gl.FLOAT, false);
      attribute("colour", 4, gl.UNSIGNED_BYTE, true);
      gl.drawArrays(gl.POINTS, 0, this.sweep.count);
      const pixel = this.picked === null ? null : this.project(this.picked, matrix);
      this.target.hidden = !pixel;
      if (pixel) Object.assign(this.target.style, { left: `${pixel[0]}px`, top: `${pixel[1]}px` });
    }

    // --- choosing a point --------------------------------------------------------------------------

    /** The point at a place of the canvas (shares of its sides); -1 where none is within reach. Of
     *  points about as near to it the one in front. */
    nearest(across, down, reach = REACH) {
      const matrix = this.matrix();
      const [x, y] = [across * this.canvas.clientWidth, down * this.canvas.clientHeight];
      let best = -1, least = Infinity;
      for (let point = 0; point < this.sweep.count; point++) {
        if (this.colours && !this.colours[4 * point + 3]) continue;
        const pixel = this.project(point, matrix);
        if (!pixel) continue;
        const away = Math.hypot(pixel[0] - x, pixel[1] - y);
        const cost = Math.max(away, 2) * Math.sqrt(pixel[2]);
        if (away <= reach && cost < least) [best, least] = [point, cost];
      }
      return best;
    }

    pick(point) {
      if (point < 0) return;
      this.picked = point;
      if (this.sweep.unit) this.similarity = similarityTo(this.sweep, point);
      if (this.mode === "similarity") this.repaint();
      else this.draw();
      this.tell();
    }

    // --- hands ---------------------------------------------------------------------------------------

    listen() {
      const { canvas, root } = this, fingers = new Map();
      let moved = 0;
      canvas.addEventListener("pointerdown", (event) => {
        canvas.focus({ preventScroll: true });
        canvas.setPointerCapture(event.pointerId);
        if (!fingers.size) moved = 0;
        fingers.set(event.pointerId, event);
      });
      canvas.addEventListener("pointermove", (event) => {
        const before = fingers.get(event.pointerId);
        if (!before) return;
        const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
        moved += Math.abs(dx) + Math.abs(dy);
        const other = [...fingers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
        if (other) {
          const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
          this.zoom(apart(before) / Math.max(apart(event), 1));
          this.shift(-dx / 2, dy / 2);
        } else if (event.shiftKey || event.buttons === 2) this.shift(-dx, dy);
        else this.turn(-dx * 0.008, dy * 0.008);
        fingers.set(event.pointerId, event);
      });
      const release = (event) => {
        const alone = fingers.delete(event.pointerId) && !fingers.size;
        if (!alone || moved > 6 || event.type === "pointercancel") return;
        const box = canvas.getBoundingClientRect();
        this.pick(this.nearest((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height));
      };
      canvas.addEventListener("pointerup", release);
      canvas.addEventListener("pointercancel", release);
      canvas.addEventListener("contextmenu", (event) => event.preventDefault());
      canvas.addEventListener("wheel", (event) => {
        if (document.activeElement !== canvas) return;
        event.preventDefault();
        this.zoom(Math.exp(clamp(event.deltaY, [-120, 120]) * 0.0015));
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => this.key(event));
      root.querySelector("[name=reset]").addEventListener("click", () => this.reset());
      root.querySelector("[name=size]").addEventListener("input", (event) => {
        this.pointSize = Number(event.target.value);
        this.draw();
      });
      root.querySelector("[name=sweep]")?.addEventListener("change", (event) => this.open(Number(event.target.value)));
    }

    key(event) {
      const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      const act = {
        "+": () => this.zoom(0.85), "=": () => this.zoom(0.85), "-": () => this.zoom(1 / 0.85),
        "0": () => this.reset(), "Home": () => this.reset(),
        "Enter": () => this.pick(this.nearest(0.5, 0.5, Infinity)),
        " ": () => this.pick(this.nearest(0.5, 0.5, Infinity)),
      }[event.key];
      if ((!arrow && !act) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      if (act) act();
      else if (event.shiftKey) this.shift(24 * arrow[0], 24 * arrow[1]);
      else this.turn(0.09 * arrow[0], 0.09 * arrow[1]);
    }
  }

  const root = document.querySelector(".view"), canvas = root.querySelector("canvas");
  const options = { antialias: true };
  const gl = canvas.getContext("webgl2", options) || canvas.getContext("webgl", options);
  if (!gl) return; // the pictures from above stay
  root.hidden = false;
  document.querySelector(".still").hidden = true;
  canvas.view = new View(root, JSON.parse(document.getElementById("view-data").textContent), gl);
})();
