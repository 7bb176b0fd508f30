// Zero-shot classification and search by CLIP.

import { $, asDataUrl, attempt, call, make, say, turns } from "./net.js";
import { show as showTab } from "./tabs.js";
import { open } from "./viewer.js";

let chosen = null; // a picture's id, or a data: URL
const choosing = turns();
const searching = turns();

function choose(given, url) {
  chosen = given;
  choosing(); // answers about the picture before are late
  $("classify-picture").src = url;
  $("classify-picture").hidden = false;
  $("classify-empty").hidden = true;
  $("guesses").replaceChildren();
}

export async function openFile(file) {
  const last = choosing();
  const url = await asDataUrl(file);
  const shown = await Object.assign(new Image(), { src: url }).decode().then(() => true, () => false);
  if (!last()) return;
  if (shown) choose(url, url); else say("That file is not a picture that can be shown.", true);
}

export function classifyPicture(picture) {
  showTab("classify");
  $("classify-file").value = "";
  choose(picture.id, picture.url);
  $("labels").focus();
}

/* What is awaited; meanwhile a list says so in place of older answers, which are of another question. */
async function waiting(list, kind, text, last, answer) {
  $(list).replaceChildren(make(kind, { className: "quiet" }, text));
  try { return await answer; } catch (error) { if (last()) $(list).replaceChildren(); throw error; }
}

async function classify() {
  const labels = $("labels").value.split(/[,，\n]/).map((one) => one.trim()).filter(Boolean);
  $("classify-empty").hidden = chosen && labels.length;
  if (!chosen || !labels.length) {
    $("classify-empty").textContent = chosen ? "Enter some labels." : "Choose a picture first.";
    return;
  }
  const last = choosing();
  const found = await waiting("guesses", "li", "Classifying …", last, call("POST", "api/classify", { image: chosen, labels }));
  if (!last()) return;
  $("guesses").replaceChildren(...found.labels.map((one) => make("li", {}, make("span", { dir: "auto" }, one.label),
    make("span", { className: "quiet" }, `${Math.round(100 * one.share)} %`), make("progress", { max: 1, value: one.share }))));
}

async function search() {
  const sentence = $("sentence").value;
  if (!sentence.trim()) { say("Describe the pictures that you look for.", true); $("sentence").focus(); return; }
  const last = searching();
  const found = await waiting("hits", "p", "Searching …", last, call("POST", "api/search", { sentence }));
  if (!last()) return;
  $("hits").replaceChildren(...found.hits.map((hit) => {
    const tile = make("button", { type: "button", className: "tile" },
      make("img", { src: hit.url, alt: "a similar picture", loading: "lazy" }), make("small", {}, hit.score.toFixed(2)));
    tile.addEventListener("click", () => attempt(async () => {
      const job = await call("GET", `api/jobs/${hit.job}`);
      open(job, job.pictures.find((one) => one.id === hit.picture));
    }));
    return tile;
  }));
  const left = found.unsearched;
  if (left) $("hits").prepend(make("p", { className: "quiet" }, left === 1
    ? "1 picture cannot be found yet: it has no CLIP embedding so far."
    : `${left} pictures cannot be found yet: they have no CLIP embeddings so far.`));
  else if (!found.hits.length) $("hits").replaceChildren(make("p", { className: "quiet" }, "There are no pictures yet."));
}

export function start() {
  $("classify-file").addEventListener("change", () => attempt(async () => {
    const [file] = $("classify-file").files;
    if (file) await openFile(file);
  }));
  $("classify-go").addEventListener("click", () => attempt(classify));
  $("search-form").addEventListener("submit", (event) => { event.preventDefault(); attempt(search); });
  $("sentence").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("search-form").requestSubmit(); }
  });
}
