// Inpainting: a mask drawn with brush and rectangle, with undo; by mouse, touch, pen or keyboard.

import { $, attempt, make, say, turns } from "./net.js";
import { paint, painters, settingsOf } from "./form.js";
import { take } from "./jobs.js";
import { check, radios } from "./radios.js";
import { show as showTab } from "./tabs.js";

const SIDE = 576;
const KEPT = "pinxit-edit";
let source = null; // {image, name or data URL, width, height}
let strokes = [];
let drawing = null;
let tool = "brush";
let cursor = null;
const opening = turns();

const context = () => $("canvas").getContext("2d");

function lay(mask, stroke) {
  if (stroke.tool === "clear") { mask.clearRect(0, 0, SIDE, SIDE); return; }
  mask.globalCompositeOperation = stroke.tool === "erase" ? "destination-out" : "source-over";
  mask.fillStyle = mask.strokeStyle = "#000";
  if (stroke.tool === "box") {
    const [one, other] = [stroke.points[0], stroke.points.at(-1)];
    mask.fillRect(Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.abs(one[0] - other[0]), Math.abs(one[1] - other[1]));
    return;
  }
  mask.lineCap = mask.lineJoin = "round";
  mask.lineWidth = stroke.width;
  mask.beginPath();
  mask.moveTo(...stroke.points[0]);
  for (const point of stroke.points) mask.lineTo(point[0] + 0.01, point[1]);
  mask.stroke();
}

function masked() {
  const layer = make("canvas", { width: SIDE, height: SIDE });
  const mask = layer.getContext("2d");
  for (const stroke of drawing ? [...strokes, drawing] : strokes) lay(mask, stroke);
  return layer;
}

function draw() {
  const on = context();
  on.clearRect(0, 0, SIDE, SIDE);
  if (!source) return;
  on.drawImage(source.image, 0, 0, SIDE, SIDE);
  const layer = masked();
  const tint = layer.getContext("2d");
  tint.globalCompositeOperation = "source-in";
  tint.fillStyle = "#2f6f62";
  tint.fillRect(0, 0, SIDE, SIDE);
  on.globalAlpha = 0.62;
  on.drawImage(layer, 0, 0);
  on.globalAlpha = 1;
  if (cursor && tool !== "box") {
    on.beginPath();
    on.arc(...cursor, width() / 2, 0, 7);
    on.strokeStyle = "#fff";
    on.lineWidth = 3;
    on.stroke();
    on.strokeStyle = "#000";
    on.lineWidth = 1;
    on.stroke();
  }
}

// The mask as a PNG of the picture's size; transparent means: repaint. Null: nothing is to be repainted.
function maskUrl() {
  const found = make("canvas", { width: source.width, height: source.height });
  const on = found.getContext("2d");
  on.fillRect(0, 0, found.width, found.height);
  on.globalCompositeOperation = "destination-out";
  on.drawImage(masked(), 0, 0, found.width, found.height);
  const { data } = on.getImageData(0, 0, found.width, found.height);
  const some = data.some((value, place) => place % 4 === 3 && value < 128); // as the server decides
  return some ? found.toDataURL("image/png") : null;
}

const width = () => Number($("brush").value) / 100 * SIDE;

function at(event) {
  const box = $("canvas").getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
}

function choose(name) {
  tool = name;
  check($("tools"), (one) => one.dataset.tool === name);
}

function size(by) {
  $("brush").value = Number($("brush").value) + by;
  $("brush-said").value = `${$("brush").value} %`;
  draw();
}

function change(found) {
  strokes = found;
  drawing = null;
  draw();
  keep();
}

const add = (stroke) => change([...strokes, stroke]);

// Survives a reload and a crash, except for pictures that are too large for localStorage.
function keep() {
  const about = { data: source?.data, strokes, prompt: $("edit-prompt").value, recipe: $("edit-recipe").value };
  try { localStorage.setItem(KEPT, JSON.stringify(about)); } catch { forget(); }
}

// What is kept there is not what is shown.
function forget() {
  try { localStorage.removeItem(KEPT); } catch { /* a private window */ }
}

async function restore() {
  let kept = null;
  try { kept = JSON.parse(localStorage.getItem(KEPT)); } catch { /* nothing */ }
  if (!kept) return;
  $("edit-prompt").value ||= kept.prompt ?? "";
  if (painters("edit").some((one) => one.id === kept.recipe)) $("edit-recipe").value = kept.recipe;
  if (!kept.data) return;
  const named = /^[0-9a-f]{32}$/.test(kept.data);
  if (await loadImage(named ? `pictures/${kept.data}.png` : kept.data, named ? kept.data : undefined).catch(() => false)) change(kept.strokes ?? []);
}

// False: another one was opened meanwhile.
async function loadImage(url, name) {
  const last = opening(), image = new Image();
  image.src = url;
  await image.decode();
  if (!last()) return false;
  const side = Math.min(image.naturalWidth, image.naturalHeight, 1024);
  let data = name;
  if (!name) { // an uploaded picture: its centre square, which is what will be edited
    const square = make("canvas", { width: side, height: side });
    const cut = Math.min(image.naturalWidth, image.naturalHeight);
    square.getContext("2d").drawImage(image, (image.naturalWidth - cut) / 2, (image.naturalHeight - cut) / 2, cut, cut, 0, 0, side, side);
    data = square.toDataURL("image/png");
    source = { image: square, data, width: side, height: side };
  } else source = { image, data, width: image.naturalWidth, height: image.naturalHeight };
  change([]);
  return true;
}

export async function openFile(file) {
  const url = URL.createObjectURL(file);
  try { await loadImage(url); } catch { say("That file is not a picture that can be shown.", true); }
  URL.revokeObjectURL(url);
}

export function editPicture(picture, job) {
  showTab("edit");
  $("edit-file").value = "";
  $("edit-prompt").value = job.prompt;
  if (painters("edit").some((one) => one.id === job.recipe)) $("edit-recipe").value = job.recipe;
  loadImage(picture.url, picture.id).catch(() => {
    source = null; // else the one before would be repainted
    change([]);
    say("That picture is not here any more.", true);
  });
  $("canvas").focus();
}

async function go() {
  if (!source) { say("Open a picture first, or choose Edit in a picture's details.", true); return; }
  const mask = maskUrl();
  if (!mask) { say("Paint over what should change.", true); return; }
  if (!$("edit-prompt").value.trim()) { say("Describe the whole picture.", true); $("edit-prompt").focus(); return; }
  const recipe = $("edit-recipe").value;
  const jobs = await paint({ kind: "edit", image: source.data, mask, prompt: $("edit-prompt").value, recipes: [recipe], settings: settingsOf(recipe), size: "auto" });
  if (jobs) { jobs.forEach(take); showTab("paint"); window.scrollTo(0, 0); }
}

export function start() {
  const canvas = $("canvas");
  canvas.addEventListener("pointerdown", (event) => {
    if (!source || event.button || !event.isPrimary) return;
    canvas.setPointerCapture(event.pointerId);
    drawing = { tool, width: width(), points: [at(event)] };
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.isPrimary) return; // a second finger
    cursor = at(event);
    if (drawing) drawing.points.push(cursor);
    draw();
  });
  canvas.addEventListener("pointerup", (event) => drawing && event.isPrimary && add(drawing));
  canvas.addEventListener("pointercancel", (event) => { if (event.isPrimary) { drawing = null; draw(); } });
  canvas.addEventListener("pointerleave", () => { cursor = null; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-16, 0], ArrowRight: [16, 0], ArrowUp: [0, -16], ArrowDown: [0, 16] }[event.key];
    if (steps && source) {
      event.preventDefault();
      cursor = cursor ? cursor.map((value, k) => Math.min(SIDE, Math.max(0, value + steps[k]))) : [SIDE / 2, SIDE / 2];
      draw();
    } else if (event.key === " " && cursor && source) {
      event.preventDefault();
      add({ tool: tool === "box" ? "brush" : tool, width: width(), points: [cursor] });
    }
  });
  document.addEventListener("keydown", (event) => {
    if ($("edit").hidden || /^(TEXTAREA|INPUT)$/.test(event.target.tagName)) return;
    if (event.key === "[") size(-2);
    if (event.key === "]") size(2);
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("undo").click(); }
  });
  for (const one of $("tools").children) one.addEventListener("click", () => choose(one.dataset.tool));
  radios($("tools"));
  choose(tool);
  $("brush").addEventListener("input", () => size(0));
  $("undo").addEventListener("click", () => change(strokes.slice(0, -1)));
  $("clear").addEventListener("click", () => add({ tool: "clear" }));
  $("edit-prompt").addEventListener("input", keep);
  $("edit-recipe").addEventListener("change", keep);
  $("all").addEventListener("click", () => add({ tool: "box", width: 0, points: [[0, 0], [SIDE, SIDE]] }));
  $("edit-go").addEventListener("click", go);
  $("edit-file").addEventListener("change", () => {
    const [file] = $("edit-file").files;
    if (file) openFile(file);
  });
  $("edit-recipe").replaceChildren(...painters("edit").map((one) => make("option", { value: one.id }, one.id)));
  size(0);
  attempt(restore);
}
