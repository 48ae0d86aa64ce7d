// The live view: takes frames and masks from the server, paints them, and brings the viewer's wishes back.
// docs/serve.md describes the messages.

import { SharesChart, TimesChart, element, milliseconds } from "./charts.js";
import { createPainter } from "./painter.js";

const SILENT_S = 3;
const RETRY_MS = [500, 1000, 2000, 5000];
const $ = (id) => document.getElementById(id);

const painter = createPainter($("view"));
const sharesChart = new SharesChart($("shares"));
let timesChart = null;
let hello = null;
let figures = null;
let engine = null; // the engine of the frame that is shown
let socket = null;
let attempts = 0;
let painted = false;
let frameAt = 0; // when the newest frame was painted, in seconds since the page was opened
const look = { opacity: 0.5, split: 0, contours: true, visible: new Array(256).fill(true) };

// ---- connection

async function start() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname);
    await openSession(token);
  }
  connect();
}

function connect() {
  if (socket || document.hidden) return;
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
  socket.binaryType = "arraybuffer";
  let queue = Promise.resolve();
  socket.onmessage = ({ data }) => {
    const from = socket;
    queue = queue.then(() => take(data)).catch(report).then(() => {
      if (from.readyState === WebSocket.OPEN) from.send("");
    });
  };
  socket.onclose = () => {
    socket = null;
    if (!document.hidden) retry();
  };
}

async function retry() {
  setState("lost", "not connected; trying again");
  const refused = await fetch("/api/figures").then((answer) => answer.status === 401, () => false);
  if (refused) {
    askForToken();
  } else {
    setTimeout(connect, RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)]);
  }
}

// A page that nobody sees takes no frames.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connect();
  else if (socket) socket.close();
});

function post(path, value) {
  const body = JSON.stringify(value);
  return fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body });
}

async function command(path, value) {
  $("error").textContent = "";
  const answer = await post(path, value);
  const content = await answer.json();
  if (answer.ok) showFigures(content);
  else report(new Error(content.error));
}

function report(error) {
  $("error").textContent = error.message;
}

async function openSession(token) {
  const answer = await post("/api/session", { token });
  $("login-error").textContent = answer.ok ? "" : (await answer.json()).error;
  return answer.ok;
}

function askForToken() {
  $("login").hidden = false;
  $("live").hidden = true;
  setState("lost", "closed");
  $("token").focus();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!(await openSession($("token").value))) return;
  $("token").value = "";
  $("login").hidden = true;
  connect();
});

// ---- messages

async function take(data) {
  if (typeof data !== "string") return showFrame(data);
  const message = JSON.parse(data);
  if (message.type === "hello") showHello(message);
  else showFigures(message);
}

async function showFrame(buffer) {
  const header = new DataView(buffer);
  const start = header.getUint16(2, true);
  const jpegBytes = header.getUint32(12, true);
  const jpeg = new Blob([new Uint8Array(buffer, start, jpegBytes)], { type: "image/jpeg" });
  const [bitmap, indices] = await Promise.all([
    createImageBitmap(jpeg),
    inflate(new Uint8Array(buffer, start + jpegBytes)),
  ]);
  const mask = { width: header.getUint16(8, true), height: header.getUint16(10, true), indices };
  const shownEngine = hello.engines[header.getUint8(1)];
  if (shownEngine !== engine) showEngine(shownEngine);
  fit(bitmap);
  painter.frame(bitmap, mask);
  painted = true;
  frameAt = performance.now() / 1000;
  paint();
  if (sharesChart.isDue(frameAt)) sharesChart.add(frameAt, shares(indices));
  showState();
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function shares(indices) {
  const counts = new Float32Array(256);
  for (const index of indices) counts[index] += 1;
  return counts.map((count) => count / indices.length);
}

function paint() {
  if (painted) painter.paint(look);
}

function fit(bitmap) {
  if (bitmap.width === $("view").width && bitmap.height === $("view").height) return;
  $("picture").style.setProperty("--ratio", bitmap.width / bitmap.height);
}

// ---- what is shown

function showHello(message) {
  hello = message;
  engine = null;
  attempts = 0;
  frameAt = performance.now() / 1000; // silence counts from here on
  document.title = `${hello.source} – edgefsa live`;
  $("source").textContent = hello.source;
  $("engine").replaceChildren(...hello.engines.map((item) => new Option(item.name, item.name)));
  $("engine").disabled = hello.engines.length < 2;
  $("record").hidden = !hello.records;
  timesChart = new TimesChart($("times"), hello.edges_ms);
  $("live").hidden = false;
  $("login").hidden = true;
  showFigures(hello.figures);
}

function showEngine(next) {
  const known = engine && engine.names.join() === next.names.join();
  engine = next;
  painter.classes(engine.palette_rgb);
  if (known) return;
  sharesChart.classes(engine.palette_rgb);
  look.visible.fill(true);
  $("classes").replaceChildren(...engine.names.map(classRow));
}

function classRow(name, index) {
  const box = element("input");
  box.type = "checkbox";
  box.checked = true;
  box.addEventListener("change", () => {
    look.visible[index] = box.checked;
    paint();
  });
  const swatch = element("span");
  swatch.className = "swatch";
  swatch.style.backgroundColor = `rgb(${engine.palette_rgb[index].join(" ")})`;
  const label = element("label");
  const share = element("span");
  share.className = "share";
  label.append(box, swatch, element("span", name), share);
  const item = element("li");
  item.append(label);
  return item;
}

function showFigures(message) {
  figures = message;
  const camera = figures.times_ms[hello.live ? "camera_to_mask" : "frame_to_mask"];
  const rows = [
    ["frames/s", figures.fps.toFixed(1)],
    [hello.live ? "camera to mask" : "frame to mask", camera && `${milliseconds(camera.median)} ms`],
    ["its 95th percentile", camera && `${milliseconds(camera.p95)} ms`],
    ["frames", figures.frames],
    ["dropped", figures.dropped],
    ["reconnects", figures.reconnects || null],
    ["temperature", figures.temperature_c && `${figures.temperature_c.toFixed(0)} °C`],
    ["power", figures.power_w && `${figures.power_w.toFixed(1)} W`],
    ["throttled", figures.throttled ? "yes" : null],
    ["agrees with ONNX", figures.canary && `${(100 * figures.canary.last).toFixed(2)} %`],
    ["beyond its ranges", figures.canary && figures.canary.saturation &&
      `${(100 * figures.canary.saturation.share).toFixed(2)} % of ${figures.canary.saturation.tensor}`],
    ["at its lowest", figures.canary && `${(100 * figures.canary.lowest).toFixed(2)} %`],
    ["viewers", figures.viewers],
  ].filter(([, value]) => value !== null && value !== undefined);
  $("figures").replaceChildren(...rows.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", String(value)));
    return pair;
  }));
  timesChart.show(figures.times_ms, figures.histograms);
  showShares();
  $("engine").value = figures.engine;
  $("pause").setAttribute("aria-pressed", figures.paused);
  $("pause").textContent = figures.paused ? "Go on" : "Pause";
  showClips(figures.recording);
  showList("notes", figures.notes.slice().reverse(), (note) => element("li", note));
  showState();
}

function showShares() {
  const last = sharesChart.points[sharesChart.points.length - 1];
  if (!last) return;
  [...$("classes").children].forEach((item, index) => {
    const share = last.shares[index];
    item.classList.toggle("absent", share === 0);
    item.querySelector(".share").textContent = share ? `${(100 * share).toFixed(1)} %` : "";
  });
}

function showList(id, values, make) {
  const key = JSON.stringify(values);
  if ($(id).dataset.key === key) return; // as it was: whatever has the focus in it keeps it
  $(id).dataset.key = key;
  $(id).replaceChildren(...values.map(make));
  $(`${id}-panel`).hidden = values.length === 0;
}

function showClips(recording) {
  const seconds = recording && recording.seconds;
  const recording_now = seconds !== null && seconds !== undefined;
  $("record").setAttribute("aria-pressed", recording_now);
  $("record").textContent = recording_now ? `Stop (${seconds.toFixed(0)} s)` : "Record";
  showList("clips", recording ? recording.clips : [], (clip) => {
    const play = element("button", "Play");
    play.type = "button";
    play.setAttribute("aria-label", `Play ${clip.name}`);
    play.addEventListener("click", () => {
      $("player").hidden = false;
      $("player").src = `/recordings/${clip.id}.mp4`;
      $("player").play().catch(report);
    });
    const link = element("a", clip.name);
    link.href = `/recordings/${clip.id}.mp4?download`;
    link.download = clip.name;
    const item = element("li");
    item.append(play, link, element("span", `${clip.seconds} s, ${(clip.bytes / 1e6).toFixed(1)} MB`));
    return item;
  });
}

function showState() {
  const quiet = performance.now() / 1000 - frameAt;
  const paused = figures && figures.paused;
  const silent = Boolean(socket && hello && !paused && quiet > SILENT_S);
  if (socket && paused) setState("paused", "paused");
  else if (silent) setState("silent", painted ? "no frames" : "waiting for the first frame");
  else if (socket && painted) setState("live", hello.live ? "live" : "running");
  $("picture").classList.toggle("stale", silent || !socket);
  $("silence").textContent = silent && painted ? `no frames for ${Math.floor(quiet)} s` : "";
}

function setState(kind, words) {
  $("state").dataset.state = kind;
  if ($("state").textContent !== words) $("state").textContent = words;
}

setInterval(showState, 1000);

// ---- what the viewer does

function setLook() {
  look.opacity = $("opacity").value / 100;
  look.contours = $("contours").checked;
  look.split = $("split").value / 100;
  $("picture").style.setProperty("--split", look.split);
  paint();
}

for (const id of ["opacity", "contours", "split"]) $(id).addEventListener("input", setLook);

$("pause").addEventListener("click", () => command("/api/pause", { paused: !figures.paused }));
$("engine").addEventListener("change", (event) => command("/api/engine", { engine: event.target.value }));
$("record").addEventListener("click", () => {
  command("/api/recording", { recording: $("record").getAttribute("aria-pressed") !== "true" });
});
$("snapshot").addEventListener("click", () => {
  paint(); // WebGL keeps what it drew only until the browser shows it
  $("view").toBlob((blob) => {
    const link = element("a");
    link.href = URL.createObjectURL(blob);
    link.download = `edgefsa-${new Date().toISOString().replace(/[:.]/g, "-")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png");
});

function nudge(id, step) {
  $(id).value = Number($(id).value) + step;
  setLook();
}

function toggleClass(index) {
  const box = $("classes").querySelectorAll("input")[index];
  if (box) box.click();
}

const KEYS = {
  " ": () => $("pause").click(),
  r: () => $("record").click(),
  s: () => $("snapshot").click(),
  "+": () => nudge("opacity", 10),
  "=": () => nudge("opacity", 10),
  "-": () => nudge("opacity", -10),
  c: () => $("contours").click(),
  b: () => {
    $("split").value = look.split ? 0 : 50;
    setLook();
  },
  0: () => $("classes").querySelectorAll("input:not(:checked)").forEach((box) => box.click()),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !hello) return;
  const target = event.target;
  const typing = target.matches("select, video, summary, input:not([type=range]):not([type=checkbox])");
  const pressing = event.key === " " && target.matches("button, a, input");
  if (typing || pressing) return;
  if (KEYS[event.key]) KEYS[event.key]();
  else if (event.key >= "1" && event.key <= "9") toggleClass(Number(event.key) - 1);
  else return;
  event.preventDefault();
});

setLook();
start();
