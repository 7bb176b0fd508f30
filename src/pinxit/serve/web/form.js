// The form. It survives a reload; only its own buttons change it.

import { $, attempt, call, make, say } from "./net.js";
import { check, radios } from "./radios.js";

const KEPT = "pinxit-form";
const AT_ONCE = 8; // painters that the server takes in one request
export const EXAMPLES = ["an armchair in the shape of an avocado", "a fox riding a bicycle on a beach", "a capybara at sunrise",
  "a small red cube on top of a big green cube", "三个绿色的三角形"];
let models = [];
let loaded = false;
let sending = false;
let state = { prompt: "", recipe: "", candidates: 16, keep: 16, seed: "", size: "auto", compare: false, settings: {} };

export const painters = (can) => models.filter((one) => one.can.includes(can));
export const known = (recipe) => painters("paint").find((one) => one.id === recipe);
export const canAny = (can, recipe) => models.some((one) => one.can.includes(can) && (!recipe || one.id === recipe));

const chosen = () => known(state.recipe) ?? painters("paint")[0];

function keep() {
  try { localStorage.setItem(KEPT, JSON.stringify(state)); } catch { /* a private window */ }
}

export function change(parts) {
  state = { ...state, ...parts };
  keep();
  show();
}

function show() {
  if ($("prompt").value !== state.prompt) $("prompt").value = state.prompt;
  $("candidates").value = state.candidates;
  $("keep").max = state.candidates;
  state.keep = Math.min(state.keep, state.candidates);
  $("keep").value = state.keep;
  $("candidates-said").value = state.candidates;
  $("keep-said").value = state.keep;
  if ($("seed").value !== String(state.seed)) $("seed").value = state.seed;
  $("compare").checked = state.compare;
  if (!painters("paint").length) return;
  const model = chosen();
  state.recipe = model.id;
  check($("recipes"), (button) => button.dataset.id === model.id && !state.compare);
  $("compare-line").hidden = painters("paint").length < 2;
  const sizes = ["auto", ...model.sizes, 256, 512, parseInt(state.size, 10) || "auto"].filter((one, at, all) => all.indexOf(one) === at);
  $("size").replaceChildren(...sizes.map((one) => make("option", { value: one === "auto" ? one : `${one}x${one}` }, one === "auto" ? "automatic" : `${one} × ${one}`)));
  $("size").value = state.size;
  showSettings(model);
}

function showSettings(model) {
  $("details").hidden = state.compare;
  const own = state.settings[model.id] ?? {};
  if ($("settings").dataset.of === model.id) {
    for (const input of $("settings").querySelectorAll("input")) input.value = own[input.name] ?? "";
    return;
  }
  $("settings").dataset.of = model.id;
  $("settings").replaceChildren(...Object.entries(model.settings).map(([name, value]) => {
    const input = make("input", { name, placeholder: String(value), value: own[name] ?? "", inputMode: typeof value === "number" ? "decimal" : "text" });
    input.addEventListener("input", () => {
      const mine = { ...(state.settings[model.id] ?? {}) };
      if (input.value.trim()) mine[name] = input.value.trim(); else delete mine[name];
      state.settings = { ...state.settings, [model.id]: mine };
      keep();
    });
    return make("label", {}, name.replaceAll("_", " "), input);
  }));
}

export function setSettings(recipe, own) {
  state.settings = { ...state.settings, [recipe]: own };
  keep();
  show();
}

function read(value) {
  const number = Number(value);
  return value !== "" && Number.isFinite(number) ? number : value;
}

export function settingsOf(recipe) {
  return Object.fromEntries(Object.entries(state.settings[recipe] ?? {}).map(([name, value]) => [name, read(value)]));
}

// Seeds have at most 15 digits here: JavaScript rounds integers beyond 2^53.
export async function paint(parts = {}) {
  const asked = { prompt: state.prompt, candidates: state.candidates, keep: state.keep, size: state.size, ...parts };
  if (!("recipes" in asked)) {
    asked.recipes = state.compare ? painters("paint").map((one) => one.id) : [chosen().id];
    if (!state.compare) asked.settings = settingsOf(chosen().id);
  }
  if (!("seed" in asked) && String(state.seed).trim() !== "") asked.seed = Number(state.seed);
  if (sending) { say("The request before this one is still on its way.", true); return undefined; } // a double click
  const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  sending = true;
  const jobs = await attempt(async () => {
    const all = [];
    for (let at = 0; at < asked.recipes.length; at += AT_ONCE) {
      const recipes = asked.recipes.slice(at, at + AT_ONCE);
      const found = await call("POST", "api/jobs", { ...asked, recipes }, { "idempotency-key": `${key}-${at}` });
      asked.seed ??= found.jobs[0].seed; // a comparison has one seed, also in several requests
      all.push(...found.jobs);
    }
    say("");
    return all;
  });
  sending = false;
  return jobs;
}

export async function load() {
  models = (await call("GET", "api/about")).data;
  $("recipes").replaceChildren(...painters("paint").map((one) => {
    const button = make("button", { type: "button", dataset: { id: one.id } }, one.id);
    button.setAttribute("role", "radio");
    button.addEventListener("click", () => change({ recipe: one.id, compare: false }));
    return button;
  }));
  loaded = true;
  show();
}

// Before anything is loaded: what is typed meanwhile is not lost.
export function start(painted) {
  try { state = { ...state, ...JSON.parse(localStorage.getItem(KEPT) ?? "{}") }; } catch { /* the defaults */ }
  show();
  $("prompt").addEventListener("input", () => { state.prompt = $("prompt").value; keep(); });
  for (const name of ["candidates", "keep"]) {
    $(name).addEventListener("input", () => change(name === "candidates" && state.keep === state.candidates
      ? { candidates: +$(name).value, keep: +$(name).value } : { [name]: +$(name).value }));
  }
  $("seed").addEventListener("input", () => change({ seed: $("seed").value.replace(/\D/g, "").slice(0, 15) }));
  $("dice").addEventListener("click", () => change({ seed: String(Math.floor(Math.random() * 2 ** 31)) }));
  $("chance").addEventListener("click", () => change({ seed: "" }));
  $("size").addEventListener("change", () => change({ size: $("size").value }));
  $("compare").addEventListener("change", () => change({ compare: $("compare").checked }));
  $("more").addEventListener("click", () => {
    const open = $("form").classList.toggle("open");
    $("more").setAttribute("aria-expanded", open);
  });
  $("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("form").classList.remove("open");
    $("more").setAttribute("aria-expanded", false);
    if (!loaded) { say("Still loading: try again in a moment.", true); return; }
    if (!painters("paint").length) { say("No painter of this server can paint from text.", true); return; }
    if (!state.prompt.trim()) { say("Say what to paint.", true); $("prompt").focus(); return; }
    const jobs = await paint();
    if (jobs) painted(jobs);
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("form").requestSubmit(); }
  });
  radios($("recipes"));
  show();
}
