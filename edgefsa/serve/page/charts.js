// Shares of the classes over time, and histograms of times by stage.

const SECONDS = 60;
const PER_SECOND = 2;

export class SharesChart {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = []; // {at: seconds, shares: Float32Array}
  }

  isDue(now) {
    return this.points.length === 0 || now - this.points[this.points.length - 1].at >= 1 / PER_SECOND;
  }

  add(now, shares) {
    this.points.push({ at: now, shares });
    while (this.points[0].at < now - SECONDS) this.points.shift();
    this.draw(now);
  }

  classes(colours) {
    this.colours = colours;
    this.points = [];
  }

  draw(now) {
    const { canvas, points } = this;
    const scale = window.devicePixelRatio || 1;
    const width = (canvas.width = Math.round(canvas.clientWidth * scale));
    const height = (canvas.height = Math.round(canvas.clientHeight * scale));
    const context = canvas.getContext("2d");
    const x = points.map((point) => width * (1 - (now - point.at) / SECONDS));
    let below = points.map(() => 0);
    this.colours.forEach((colour, index) => {
      const above = points.map((point, place) => below[place] + point.shares[index]);
      if (above.some((value, place) => value > below[place])) {
        context.beginPath();
        points.forEach((_, place) => context.lineTo(x[place], height * (1 - above[place])));
        for (let place = points.length - 1; place >= 0; place--) context.lineTo(x[place], height * (1 - below[place]));
        context.fillStyle = `rgb(${colour.join(" ")})`;
        context.fill();
      }
      below = above;
    });
  }
}

const STAGES = {
  queue: "waiting",
  prepare: "fitting",
  engine: "engine",
  mask: "mask back",
  frame_to_mask: "frame to mask",
  camera_to_mask: "camera to mask",
};
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 200;
const HEIGHT = 26;

export class TimesChart {
  constructor(table, edges) {
    this.edges = edges;
    this.rows = new Map();
    table.replaceChildren(row("head", ["stage", "", "median", "p95"], "columnheader"));
    this.table = table;
    this.axis = row("axis", ["", "", "", ""], "presentation");
    this.axis.setAttribute("aria-hidden", "true");
    this.axis.children[1].append(...[1, 10, 100, 1000].map((ms) => this.tick(ms)));
    table.append(this.axis);
  }

  tick(ms) {
    const label = element("span", String(ms));
    const last = this.edges[this.edges.length - 1];
    label.style.left = `${(100 * Math.log(ms / this.edges[0])) / Math.log(last / this.edges[0])}%`;
    return label;
  }

  show(times, histograms) {
    for (const [stage, summary] of Object.entries(times)) {
      if (!this.rows.has(stage)) this.rows.set(stage, this.add(stage));
      const { path, median, p95 } = this.rows.get(stage);
      path.setAttribute("d", bars(histograms[stage]));
      median.textContent = milliseconds(summary.median);
      p95.textContent = milliseconds(summary.p95);
    }
  }

  add(stage) {
    const made = row("", [STAGES[stage] || stage, "", "", ""], "cell");
    const [name, chart, median, p95] = made.children;
    name.setAttribute("role", "rowheader");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(SVG, "path");
    svg.append(path);
    chart.append(svg);
    this.table.insertBefore(made, this.axis);
    return { path, median, p95 };
  }
}

// What lies below the first edge is not drawn apart: it would be a bar without a width on this axis.
function bars(counts) {
  const drawn = counts.slice(1, -1);
  drawn[0] += counts[0];
  drawn[drawn.length - 1] += counts[counts.length - 1];
  const most = Math.max(...drawn, 1);
  const step = WIDTH / drawn.length;
  return drawn
    .map((count, index) => {
      const height = count ? Math.max(1, (HEIGHT * count) / most) : 0;
      return height ? `M${(index * step).toFixed(1)} ${HEIGHT}v${-height.toFixed(1)}h${(0.85 * step).toFixed(1)}V${HEIGHT}z` : "";
    })
    .join("");
}

function row(kind, texts, role) {
  const made = element("div");
  made.className = `row ${kind}`;
  made.setAttribute("role", "row");
  made.append(...texts.map((text) => {
    const cell = element("span", text);
    cell.setAttribute("role", role);
    return cell;
  }));
  return made;
}

export function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

export function milliseconds(value) {
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(2);
}
