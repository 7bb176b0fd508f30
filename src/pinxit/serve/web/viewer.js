// One picture, large, with its settings and actions. Only the "Use" buttons change the form.

import { $, attempt, call, make, redraw, say } from "./net.js";
import * as blend from "./blend.js";
import { canAny, change, known, paint, painters, setSettings } from "./form.js";
import { counterpart, pictures, take, title } from "./jobs.js";
import { editPicture } from "./edit.js";
import { show as showTab } from "./tabs.js";
import { classifyPicture } from "./tools.js";

let now = null; // {job, picture}, or {facts, url} of a dropped file
let beside = false;

// The object URL of a dropped file takes memory until it is revoked.
function forget() {
  if (now?.url) URL.revokeObjectURL(now.url);
}

function look(at) {
  forget();
  now = at;
  $("viewer-said").textContent = "";
  show();
  if (!$("viewer").open) $("viewer").showModal();
}

export const open = (job, picture) => look({ job, picture });
export const openFacts = (facts, url) => look({ facts, url });

export function refresh(job) {
  if (now?.job?.id === job.id && $("viewer").open) {
    const picture = job.pictures.find((one) => one.id === now.picture.id);
    if (picture) { now = { job, picture }; show(); }
  }
}

function neighbour(step) {
  const all = pictures();
  const at = all.findIndex((one) => one.picture.id === now.picture?.id);
  return at < 0 ? null : all[at + step] ?? null;
}

function move(step) {
  const other = now && neighbour(step);
  if (other) open(other.job, other.picture);
}

const action = (text, does, name = text) => {
  const found = make("button", { type: "button", dataset: { does: name } }, text);
  found.addEventListener("click", () => attempt(does));
  return found;
};

function said(job, picture) {
  return { painter: job.recipe, seed: picture.seed, candidate: picture.candidate, score: picture.score.toFixed(3),
    size: `${job.size} × ${job.size}`, candidates: job.candidates, ...job.settings };
}

function useSeed(seed) {
  if (!/^\d{1,15}$/.test(String(seed ?? ""))) { say("Its seed has more digits than this page can handle; use pinxit paint --seed.", true); return false; }
  change({ seed: String(seed) });
  return true;
}

function useAll(facts, settings, side) {
  const recipe = known(facts.recipe);
  change({ prompt: facts.prompt ?? "", candidates: Math.min(64, facts.candidates ?? 16), keep: Math.min(64, facts.keep ?? 16),
    size: side >= 16 && side <= 1024 ? `${side}x${side}` : "auto", ...(recipe ? { recipe: recipe.id, compare: false } : {}) });
  if (recipe) {
    const own = Object.entries(settings).filter(([name, value]) => name in recipe.settings && String(value) !== String(recipe.settings[name]));
    setSettings(recipe.id, Object.fromEntries(own.map(([name, value]) => [name, String(value)])));
  }
  if (!useSeed(facts.seed)) return;
  if (recipe) say("Prompt, seed and settings are in the form.");
  else say(`Prompt and seed are in the form; its painter${facts.recipe ? `, ${facts.recipe},` : ""} does not paint here.`, true);
}

async function star() {
  const { job, picture } = now;
  take(await call("PATCH", `api/jobs/${job.id}`, { picture: picture.id, starred: !picture.starred }));
}

async function vary() {
  const { job, picture } = now;
  const recipe = canAny("vary", job.recipe) ? job.recipe : painters("vary")[0].id;
  const jobs = await paint({ kind: "vary", image: picture.id, prompt: job.prompt, recipes: [recipe] });
  if (jobs) { $("viewer").close(); jobs.forEach(take); showTab("paint"); window.scrollTo(0, 0); }
}

function blendIt() {
  const { job, picture } = now;
  $("viewer").close();
  blend.begin(job, picture);
}

function show() {
  const { job, picture } = now;
  const facts = job ? said(job, picture) : now.facts;
  $("big").src = picture ? picture.url : now.url;
  $("big").alt = job ? job.prompt : facts.prompt ?? "";
  $("big-prompt").textContent = job ? title(job) : facts.prompt ?? "";
  $("facts").replaceChildren(...Object.entries(facts).filter(([name]) => name !== "prompt")
    .flatMap(([name, value]) => [make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, String(value))]));
  const all = job ? { prompt: job.prompt, seed: job.seed, candidates: job.candidates, keep: job.keep, recipe: job.recipe } : facts;
  const found = [
    action("Use prompt", () => { change({ prompt: all.prompt ?? "" }); say("The prompt is in the form."); }),
    action("Use seed", () => { if (useSeed(all.seed)) say("The seed is in the form."); }),
    action("Use all", () => useAll(all, job ? job.settings : facts, job ? job.size : $("big").naturalWidth)),
  ];
  if (job) {
    found.push(action(picture.starred ? "★ Starred" : "☆ Star", star, "star"));
    if (canAny("edit")) found.push(action("Edit", () => { $("viewer").close(); editPicture(picture, job); }));
    if (canAny("vary")) found.push(action("Variations", vary));
    if (canAny("blend")) found.push(action("Blend with …", blendIt));
    if (canAny("embed")) found.push(action("Classify", () => { $("viewer").close(); classifyPicture(picture); }));
    found.push(action(beside ? "Show alone" : job.group ? "Compare painters" : "Compare with next", () => { beside = !beside; show(); }, "compare"));
    const name = `${[...(job.prompt || "picture").replace(/[^\p{L}\p{M}\p{N}]+/gu, "-")].slice(0, 40).join("")}-${picture.seed}-${picture.candidate}.png`;
    found.push(make("a", { className: "button", href: picture.url, download: name }, "Download"));
  }
  redraw($("actions"), ...found);
  for (const key of document.querySelectorAll(".keys [data-key]")) key.hidden = !canAny(key.dataset.key);
  const other = beside && job ? counterpart(job, picture) ?? neighbour(1) : null;
  $("second").hidden = !other;
  if (other) Object.assign($("second"), { src: other.picture.url, alt: `${other.job.prompt}, by ${other.job.recipe}` });
  $("beside-said").textContent = other ? `${job.recipe}, beside ${other.job.recipe}, candidate ${other.picture.candidate}` : "";
  $("previous").disabled = !job || !neighbour(-1);
  $("next").disabled = !job || !neighbour(1);
  for (const tile of document.querySelectorAll(".tile.shown")) tile.classList.remove("shown");
  if (picture) document.querySelector(`.tile[data-picture="${picture.id}"]`)?.classList.add("shown");
}

export function start() {
  $("close").addEventListener("click", () => $("viewer").close());
  $("viewer").addEventListener("close", () => {
    // The tile it was opened from may have been redrawn, and is not that of the picture shown last.
    if (document.activeElement.matches("body, .tile, #viewer *")) document.querySelector("#jobs .tile.shown")?.focus();
    if (now?.url) { forget(); now = null; $("big").removeAttribute("src"); }
  });
  $("previous").addEventListener("click", () => move(-1));
  $("next").addEventListener("click", () => move(1));
  $("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });
  let from = null;
  $("big").addEventListener("pointerdown", (event) => { from = event.clientX; });
  $("big").addEventListener("pointerup", (event) => {
    if (from !== null && Math.abs(event.clientX - from) > 50) move(event.clientX < from ? 1 : -1);
    from = null;
  });
  $("viewer").addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: () => move(-1), ArrowRight: () => move(1) };
    if (now?.job) Object.assign(keys, {
      s: () => attempt(star), c: () => { beside = !beside; show(); },
      e: () => { if (canAny("edit")) { $("viewer").close(); editPicture(now.picture, now.job); } },
      b: () => { if (canAny("blend")) blendIt(); },
      v: () => { if (canAny("vary")) attempt(vary); },
    });
    const does = keys[event.key];
    if (does && !event.ctrlKey && !event.metaKey && !event.altKey && !(event.repeat && event.key.length === 1)) { event.preventDefault(); does(); }
  });
}
