"use strict";
// The page's state is what the fragment says: #frame=12&off=3,4&view=flow
const video = JSON.parse(document.getElementById("video").textContent);
const canvas = document.getElementById("canvas");
const slider = document.getElementById("slider");
const play = document.getElementById("play");
const all = document.getElementById("all");
const rows = [...document.querySelectorAll("#list tr")];
const boxes = new Map(rows.map((row) => [Number(row.dataset.track), row.querySelector("input")]));
const state = { place: 0, off: new Set(), view: "video" };
const fold = document.getElementById("fold");
const player = document.createElement("video");
const picture = new OffscreenCanvas(2, 2); // The frame of the player that is shown.
let shown = null; // The frame on the canvas, with the owner of each of its pixels.
let seeking = false; // Whether the player is on its way to another frame.
let playing = false;

// Reading a frame -------------------------------------------------------------------

// The player is ready, or "broken" if the browser cannot play H.264.
const loaded = new Promise((resolve) => {
  const bytes = Uint8Array.from(atob(document.getElementById("movie").textContent), (c) => c.charCodeAt(0));
  player.onloadeddata = () => resolve("ready");
  player.onerror = () => resolve("broken");
  Object.assign(player, { muted: true, playsInline: true, loop: true, preload: "auto" });
  player.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
});

// Takes the player to the middle of a frame, where rounding does not matter.
async function seek(place) {
  if (await loaded === "broken") return;
  const sought = new Promise((resolve) => player.addEventListener("seeked", resolve, { once: true }));
  const time = (place + 0.5) / video.rate, presented = presentation(time);
  player.currentTime = time;
  await sought;
  await presented();
  keepPicture();
}

// Watches for the frame at a time; returns a function that waits for it, but not long. A
// busy browser says "seeked" before that frame can be drawn, and draws the one before.
function presentation(time) {
  if (!player.requestVideoFrameCallback) return async () => {};
  let handle;
  const there = new Promise((resolve) => {
    const look = (_, { mediaTime }) => {
      if (mediaTime <= time && time < mediaTime + 1 / video.rate) resolve();
      else handle = player.requestVideoFrameCallback(look);
    };
    handle = player.requestVideoFrameCallback(look);
  });
  return async () => {
    await Promise.race([there, new Promise((resolve) => setTimeout(resolve, 300))]);
    player.cancelVideoFrameCallback(handle);
  };
}

function keepPicture() {
  picture.width = player.videoWidth;
  picture.height = player.videoHeight;
  picture.getContext("2d").drawImage(player, 0, 0);
}

// Lengths of runs, off and on in turn, from COCO's compressed ones: numbers of five bits
// a letter, the lowest first; from the third on, differences to the last but one.
function decodeRuns(text) {
  const runs = [];
  for (let i = 0; i < text.length; ) {
    let value = 0, shift = 0, letter;
    do {
      letter = text.charCodeAt(i++) - 48;
      value |= (letter & 31) << shift;
      shift += 5;
    } while (letter & 32);
    if (letter & 16) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

// For each pixel, row by row, which sighting is on top: its number from 1, or 0.
function ownersOf(tracks, height, width) {
  const owners = new Uint16Array(height * width);
  tracks.forEach((track, i) => {
    if (state.off.has(track.id)) return;
    let pixel = 0, on = false;
    for (const run of track.runs) {
      const end = pixel + run; // Runs go down the columns.
      for (; on && pixel < end; pixel++) {
        owners[(pixel % height) * width + Math.floor(pixel / height)] = i + 1;
      }
      pixel = end;
      on = !on;
    }
  });
  return owners;
}

function readFrame(place) {
  const block = document.getElementById("frame-" + video.chosen[place]);
  const frame = JSON.parse(block.textContent);
  frame.place = place;
  frame.tracks.forEach((track) => {
    track.runs = decodeRuns(track.mask);
    track.top = topOfLargestPiece(track.runs, video.size[0]);
  });
  return frame;
}

// The middle of the uppermost row of a mask's largest piece, where the label belongs:
// other pieces may be far away. Pixels that touch at a corner are one piece, as in the
// overlay.
function topOfLargestPiece(runs, height) {
  const strips = []; // Parts of columns from `top` to before `bottom`, in order.
  const pieceOf = (strip) => {
    while (strip.piece !== strip) strip = strip.piece = strip.piece.piece;
    return strip;
  };
  let pixel = 0, on = false, near = 0; // Strips before `near` touch no later one.
  for (const run of runs) {
    const end = pixel + run;
    while (on && pixel < end) {
      const x = Math.floor(pixel / height), top = pixel % height;
      const strip = { x, top, bottom: Math.min(height, top + end - pixel), area: 0 };
      strip.piece = strip;
      const isPast = (other) => other.x < x - 1 || (other.x === x - 1 && other.bottom < top);
      while (near < strips.length && isPast(strips[near])) near++;
      for (let i = near; i < strips.length && strips[i].x < x && strips[i].top <= strip.bottom; i++) {
        pieceOf(strips[i]).piece = strip;
      }
      strips.push(strip);
      pixel += strip.bottom - top;
    }
    pixel = end;
    on = !on;
  }
  for (const strip of strips) pieceOf(strip).area += strip.bottom - strip.top;
  const largest = strips.reduce((a, b) => (b.area > a.area ? b : a), { area: 0 });
  const inPiece = strips.filter((strip) => pieceOf(strip) === largest);
  const y = inPiece.reduce((least, strip) => Math.min(least, strip.top), height);
  const columns = inPiece.filter((strip) => strip.top === y).map((strip) => strip.x);
  return { x: Math.floor(columns.reduce((a, b) => a + b, 0) / columns.length), y };
}

// Drawing ---------------------------------------------------------------------------

// The masks as a picture: filled in their colours over the video, outlines only over
// flow; hatched where an object stands still.
function masksPicture(frame, owners, filled) {
  const [height, width] = video.size;
  const picture = new ImageData(width, height);
  const colours = frame.tracks.map((track) => parseInt(track.colour.slice(1), 16));
  const stripe = Math.max(2, Math.round(Math.min(height, width) / 100));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const owner = owners[i];
      const edge = (x > 0 && owners[i - 1] !== owner) || (y > 0 && owners[i - width] !== owner);
      if (edge) {
        picture.data.fill(255, 4 * i, 4 * i + 4);
      } else if (owner && filled) {
        const still = !frame.tracks[owner - 1].moving;
        if (still && Math.floor((x + y) / stripe) % 2) continue;
        const colour = colours[owner - 1];
        picture.data[4 * i] = colour >> 16;
        picture.data[4 * i + 1] = (colour >> 8) & 255;
        picture.data[4 * i + 2] = colour & 255;
        picture.data[4 * i + 3] = 128;
      }
    }
  }
  const layer = new OffscreenCanvas(width, height);
  layer.getContext("2d").putImageData(picture, 0, 0);
  return layer;
}

// The number of pixels of each sighting that are seen.
function countPixels(frame, owners) {
  const counts = frame.tracks.map(() => 0);
  for (const owner of owners) if (owner) counts[owner - 1]++;
  return counts;
}

// Moves a label up or down to the nearest place where it covers no other one; see
// `free_place` in labels.py.
function freePlace(label, taken, height) {
  const covers = (top, other) =>
    top < other.top + other.height && other.top < top + label.height &&
    label.left < other.left + other.width && other.left < label.left + label.width;
  const tops = [label.top, ...taken.flatMap((other) => [other.top - label.height, other.top + other.height])];
  tops.sort((a, b) => Math.abs(a - label.top) - Math.abs(b - label.top) || a - b);
  const free = tops.find((top) => top >= 0 && top + label.height <= height && !taken.some((other) => covers(top, other)));
  return { ...label, top: free === undefined ? label.top : free };
}

function drawLabel(context, text, x, y, colour, unit, taken) {
  context.font = `600 ${12 * unit}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 8 * unit, height = 17 * unit;
  const left = Math.max(0, Math.min(x - width / 2, canvas.width - width));
  const wanted = y >= height + 3 * unit ? y - height - 3 * unit : y + 3 * unit;
  const label = freePlace({ left, top: wanted, width, height }, taken, canvas.height);
  taken.push(label);
  context.fillStyle = colour;
  context.fillRect(left, label.top, width, height);
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  context.fillStyle = 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
  context.textBaseline = "middle";
  context.fillText(text, left + 4 * unit, label.top + height / 2);
}

function draw() {
  if (!shown) return;
  const frame = shown, [height, width] = video.size;
  const owners = ownersOf(frame.tracks, height, width);
  frame.owners = owners;
  // More pixels than the picture has, so that labels are sharp.
  const scale = Math.max(1, Math.round(1280 / width));
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  const unit = canvas.width / (canvas.clientWidth || 640); // A pixel of the page.
  const flow = state.view === "flow" && video.flow;
  const [rows, columns] = flow || video.size;
  const missing = player.error ? "This browser cannot play H.264 video." : flow && !frame.flow ? "There is no flow of this frame." : "";
  if (!missing) context.drawImage(picture, 0, flow ? height + video.gap : 0, columns, rows, 0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(masksPicture(frame, owners, !flow), 0, 0, canvas.width, canvas.height);
  const counts = countPixels(frame, owners), labels = [];
  frame.tracks.forEach(({ id, top, colour }, i) => {
    if (counts[i]) drawLabel(context, String(id), (top.x + 0.5) * scale, top.y * scale, colour, unit, labels);
  });
  context.fillStyle = "#888";
  context.font = `${14 * unit}px system-ui, sans-serif`;
  context.fillText(missing, 12 * unit, 24 * unit);
  describe(frame, counts);
}

// What is drawn, in words; also for tests, which cannot look.
function describe(frame, counts) {
  const number = video.chosen[frame.place];
  const seen = frame.tracks.map((track, i) => [track.id, counts[i]]).filter((pair) => pair[1]);
  canvas.dataset.frame = number;
  canvas.dataset.view = state.view;
  canvas.dataset.painted = seen.map((pair) => pair.join(":")).join(" ");
  canvas.dataset.labels = frame.tracks.map(({ id, top }) => `${id}:${top.x},${top.y}`).join(" ");
  const tracks = seen.length ? "tracks " + seen.map((pair) => pair[0]).join(", ") : "no tracks";
  canvas.setAttribute("aria-label", `Frame ${number}: ${tracks}`);
  const text = `Frame ${number} of ${video.frames} (${frame.name}), ${frame.time.toFixed(2)} s`;
  document.getElementById("status").textContent = text;
  slider.setAttribute("aria-valuetext", `Frame ${number}`);
}

// State -----------------------------------------------------------------------------

// Shows the frame that is wanted; if another one is wanted meanwhile, that one.
async function show() {
  refresh();
  if (seeking) return;
  seeking = true;
  while (!shown || shown.place !== state.place) {
    const place = state.place;
    await seek(place);
    shown = readFrame(place);
  }
  seeking = false;
  draw();
}

// Shows the state in the controls.
function refresh() {
  slider.value = state.place;
  const x = 1000 * (state.place + 0.5) / video.chosen.length;
  for (const cursor of document.querySelectorAll(".cursor")) {
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  }
  for (const button of document.querySelectorAll("button[data-view]")) {
    button.setAttribute("aria-pressed", button.dataset.view === state.view);
  }
  for (const element of document.querySelectorAll("[data-track]")) {
    element.classList.toggle("off", state.off.has(Number(element.dataset.track)));
  }
  for (const [id, box] of boxes) box.checked = !state.off.has(id);
  const on = [...boxes.values()].filter((box) => box.checked).length;
  all.checked = on === boxes.size;
  all.indeterminate = on > 0 && on < boxes.size;
}

function readFragment() {
  const words = new URLSearchParams(location.hash.slice(1));
  const wanted = Number(words.get("frame")) || 0;
  const distance = (place) => Math.abs(video.chosen[place] - wanted);
  state.place = video.chosen.reduce((best, _, place) => (distance(place) < distance(best) ? place : best), 0);
  state.off = new Set((words.get("off") || "").split(",").filter(Boolean).map(Number));
  state.view = words.get("view") === "flow" ? "flow" : "video";
}

function writeFragment() {
  const words = [`frame=${video.chosen[state.place]}`];
  if (state.off.size) words.push(`off=${[...state.off].sort((a, b) => a - b)}`);
  if (state.view !== "video") words.push(`view=${state.view}`);
  try {
    history.replaceState(null, "", "#" + words.join("&"));
  } catch {
    // Where a page is shown within another one, it may have no address.
  }
}

function change(changes) {
  Object.assign(state, changes);
  show();
  if (!playing) writeFragment();
}

function go(place) {
  stop();
  change({ place: Math.max(0, Math.min(place, video.chosen.length - 1)) });
}

// Shows a track alone; all of them if it is alone already.
function solo(id) {
  const others = [...boxes.keys()].filter((other) => other !== id);
  const alone = !state.off.has(id) && others.every((other) => state.off.has(other));
  change({ off: new Set(alone ? [] : others) });
}

function stop() {
  player.pause();
  setPlaying(false);
}

function setPlaying(value) {
  playing = value;
  play.textContent = playing ? "Stop" : "Play";
  play.setAttribute("aria-pressed", playing);
}

async function playOrStop() {
  if (playing) return go(state.place);
  if (await loaded === "broken" || seeking) return;
  setPlaying(true);
  nextPicture();
  player.play().catch(stop);
}

// Calls `played` when the player shows its next frame, with the time of that frame.
function nextPicture() {
  if (player.requestVideoFrameCallback) player.requestVideoFrameCallback((_, { mediaTime }) => played(mediaTime));
  else requestAnimationFrame(() => played(player.currentTime));
}

function played(time) {
  if (!playing) return;
  const place = Math.min(Math.floor(time * video.rate + 0.01), video.chosen.length - 1);
  keepPicture();
  shown = readFrame(place);
  state.place = place;
  refresh();
  draw();
  nextPicture();
}

// What the reader does --------------------------------------------------------------

slider.addEventListener("input", () => go(Number(slider.value)));
play.addEventListener("click", playOrStop);
all.addEventListener("change", () => change({ off: new Set(all.checked ? [] : boxes.keys()) }));
for (const button of document.querySelectorAll("button[data-view]")) {
  button.addEventListener("click", () => change({ view: button.dataset.view }));
}
const unfolded = Number(document.getElementById("list").dataset.unfolded);
function foldTracks(folded) {
  rows.forEach((row, i) => { row.hidden = folded && i >= unfolded; });
  fold.hidden = rows.length <= unfolded + 1;
  fold.textContent = folded ? `Show all ${rows.length} tracks` : `Show the ${unfolded} longest tracks only`;
  fold.setAttribute("aria-expanded", !folded);
}
fold.addEventListener("click", () => foldTracks(fold.getAttribute("aria-expanded") === "true"));
foldTracks(rows.length > unfolded + 1);
for (const row of rows) {
  const id = Number(row.dataset.track);
  row.querySelector("button").addEventListener("click", () => solo(id));
  row.querySelector("input").addEventListener("change", (event) => {
    const off = new Set(state.off);
    if (event.target.checked) off.delete(id);
    else off.add(id);
    change({ off });
  });
}
canvas.addEventListener("click", (event) => {
  if (!shown) return;
  const [height, width] = video.size;
  const x = Math.floor((event.offsetX / canvas.clientWidth) * width);
  const y = Math.floor((event.offsetY / canvas.clientHeight) * height);
  const owner = shown.owners[y * width + x];
  if (owner) solo(shown.tracks[owner - 1].id);
});
for (const svg of document.querySelectorAll(".chart")) {
  const seek = (event) => {
    const box = svg.getBoundingClientRect();
    go(Math.floor(((event.clientX - box.left) / box.width) * video.chosen.length));
  };
  svg.addEventListener("pointerdown", seek);
  svg.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
  const typing = event.target.closest("input, button, summary");
  if (event.key === " " && !typing) playOrStop();
  else if (event.key in moves && (!typing || event.target === slider)) go(state.place + moves[event.key]);
  else return;
  event.preventDefault();
});
window.addEventListener("hashchange", () => { stop(); readFragment(); show(); });
window.addEventListener("resize", draw);
readFragment();
show();
