// The list of jobs: candidates are shown as they finish, and ranked when all have.

import { $, attempt, call, make, redraw, say, turns } from "./net.js";
import { EXAMPLES, change } from "./form.js";
import * as blend from "./blend.js";
import { open, refresh } from "./viewer.js";

const jobs = new Map(); // by id
const cards = new Map();
const looks = new Map(); // previews by id: candidate -> {image, finished}
const picked = new Set();
const PAGE = 24; // jobs, at first and with each click on "Show older"
const loading = turns();
let selecting = false;
let filter = null; // for which the list was loaded
const gone = new Set(); // deleted, by id: late answers do not bring them back
let end = 0; // older jobs than this are not in the list; 0: it is complete

const order = () => [...jobs.values()].sort((one, other) => other.created - one.created);
const unfinished = (job) => job.state === "queued";

// Every finished picture on the page, in the order in which they are shown.
export const pictures = () => order().flatMap((job) => job.pictures.map((picture) => ({ job, picture })));

export const title = (job) => job.prompt || (job.kind === "blend" ? "a blend" : "variations");
const brief = (job) => title(job).slice(0, 100); // read out for each of its pictures

// The picture of the same rank by the next painter of a comparison.
export function counterpart(job, picture) {
  const same = order().reverse().filter((one) => job.group && one.group === job.group && one.pictures.length);
  const other = same[(same.findIndex((one) => one.id === job.id) + 1) % same.length];
  if (!other || other.id === job.id) return null;
  const place = job.pictures.findIndex((one) => one.id === picture.id);
  return { job: other, picture: other.pictures[Math.min(place, other.pictures.length - 1)] };
}

function minutes(seconds) {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;
}

function about(job) {
  const facts = [job.recipe, `seed ${job.seed}`, `${job.candidates} ${job.kind === "blend" ? "pictures" : job.candidates === 1 ? "candidate" : "candidates"}`];
  if (job.kind !== "paint") facts.unshift({ edit: "edited", vary: "varied", blend: "blended" }[job.kind]);
  if (job.state === "cancelled") facts.push("cancelled");
  if (unfinished(job)) {
    if (job.ahead) facts.push(`${job.ahead} ahead of it`);
    if (job.seconds_left) facts.push(`about ${minutes(job.seconds_left)} left`);
  } else if (job.ended) facts.push(`in ${minutes(job.ended - job.created)}`);
  return facts.join(" · ");
}

function tiles(job) {
  if (!unfinished(job)) {
    return job.pictures.map((picture, place) => {
      const image = make("img", { src: picture.url, alt: `${brief(job)}, candidate ${picture.candidate}`, loading: "lazy", draggable: true });
      const tile = make("button", { type: "button", className: "tile", dataset: { picture: picture.id } }, image, make("small", {}, String(place + 1)));
      if (place === 0 && job.pictures.length > 3 && job.kind !== "blend") tile.classList.add("best");
      if (picture.starred) tile.append(make("span", { className: "star", title: "starred" }, "★"));
      tile.addEventListener("click", () => blend.waiting() ? attempt(() => blend.choose(job, picture)) : open(job, picture));
      return tile;
    });
  }
  const seen = looks.get(job.id) ?? new Map();
  return Array.from({ length: Math.min(job.candidates, 64) }, (_, candidate) => {
    const look = seen.get(candidate);
    const tile = make("div", { className: `tile empty${look?.finished ? "" : job.share > 0 || look ? " painting" : ""}` });
    if (look) tile.append(make("img", { src: look.image, alt: `candidate ${candidate}, ${look.finished ? "finished" : "in progress"}` }));
    return tile;
  });
}

function draw(job) {
  let card = cards.get(job.id);
  const fresh = !card;
  if (fresh) {
    card = make("article", { className: "job", tabIndex: -1, dataset: { id: job.id } });
    card.addEventListener("click", (event) => {
      if (!selecting) return;
      event.preventDefault();
      event.stopPropagation();
      picked.has(job.id) ? picked.delete(job.id) : picked.add(job.id);
      card.classList.toggle("chosen", picked.has(job.id));
      bar();
    }, true);
    cards.set(job.id, card);
  }
  const buttons = [];
  if (unfinished(job)) {
    if (job.ahead) buttons.push(button("To the front", () => call("POST", `api/jobs/${job.id}/front`)));
    buttons.push(button("Cancel", async () => take(await call("POST", `api/jobs/${job.id}/cancel`))));
  } else {
    const star = button(job.starred ? "★" : "☆", async () => take(await call("PATCH", `api/jobs/${job.id}`, { starred: !job.starred })), "Star");
    star.setAttribute("aria-pressed", job.starred);
    buttons.push(star);
  }
  const head = make("header", {}, make("h2", { title: job.prompt, dir: "auto" }, title(job)), ...buttons);
  const parts = [head, make("p", { className: "about" }, about(job))];
  if (unfinished(job)) {
    const bar = make("progress", { max: 1, value: job.share });
    bar.setAttribute("aria-label", `${Math.round(100 * job.share)} % painted`);
    parts.push(bar);
  }
  for (const warning of job.warnings) parts.push(make("p", { className: "about" }, warning));
  if (job.error) parts.push(make("p", { className: "failed" }, job.error));
  if (unfinished(job) || job.pictures.length) parts.push(make("div", { className: job.kind === "blend" ? "grid strip" : "grid" }, ...tiles(job)));
  redraw(card, ...parts);
  return card;
}

function button(text, action, label) {
  const found = make("button", { type: "button", dataset: { does: label ?? text } }, text);
  if (label) found.setAttribute("aria-label", label);
  found.addEventListener("click", () => attempt(action));
  return found;
}

function bar() {
  $("cancel-all").hidden = ![...jobs.values()].some(unfinished);
  $("delete-selected").hidden = !picked.size;
  $("delete-selected").textContent = `Delete ${picked.size}`;
  $("empty").hidden = jobs.size > 0;
  $("examples").hidden = filtering();
  $("empty").firstElementChild.textContent = filtering() ? "No matches." : "Nothing painted yet. Try one of these:";
}

const filtering = () => Boolean($("words").value) || $("starred").checked;

// What the server says of a job. The list has no gap: one older than its end comes with "Show older".
export function take(job) {
  if (!jobs.has(job.id) && job.created < end) refresh(job); else put(job);
}

function put(job) {
  const before = jobs.get(job.id);
  if (gone.has(job.id) || (before && !unfinished(before) && unfinished(job))) return; // an answer that was overtaken
  if (JSON.stringify(before) === JSON.stringify(job)) return;
  if (!unfinished(job)) looks.delete(job.id);
  jobs.set(job.id, job);
  const known = cards.has(job.id);
  const card = draw(job);
  if (!known) {
    const after = order();
    const next = after[after.indexOf(job) + 1];
    $("jobs").insertBefore(card, next ? cards.get(next.id) ?? null : null);
  }
  refresh(job);
  bar();
}

function drop(id) {
  jobs.delete(id);
  cards.get(id)?.remove();
  cards.delete(id);
  looks.delete(id);
  picked.delete(id);
}

const query = (more) => "api/jobs?" + new URLSearchParams({ limit: PAGE, words: $("words").value, starred: $("starred").checked, ...more });

function reached(found, limit) {
  found.forEach(put);
  end = found.length < limit ? 0 : found.at(-1).created;
  $("older").hidden = !end;
  bar();
}

// After a reconnection the list is as long as it was; for other words or stars it begins anew.
export async function load() {
  const last = loading(), before = [...jobs.values()], wanted = query({});
  const anew = wanted !== filter;
  const limit = anew ? PAGE : Math.min(200, Math.max(PAGE, jobs.size + (end ? 0 : 1)));
  const found = (await call("GET", query({ limit }))).jobs;
  if (!last()) return;
  filter = wanted;
  const there = new Set(found.map((job) => job.id));
  const from = anew || found.length < limit ? 0 : found.at(-1).created;
  for (const job of before) if (!there.has(job.id) && job.created > from) drop(job.id);
  const below = end; // of the pages that stay
  reached(found, limit);
  if (from && below && below < from) end = below;
}

async function older() {
  const before = end;
  const found = (await call("GET", query({ before }))).jobs;
  if (before === end) reached(found, PAGE);
}

async function remove(id) {
  try {
    // What has not ended is cancelled first, and then deleted, too.
    if ((await call("DELETE", `api/jobs/${id}`)).jobs.length) await call("DELETE", `api/jobs/${id}`);
  } catch (error) {
    if (error.status !== 404) throw error; // else another tab was first
  }
  forget(id);
}

function forget(id) {
  gone.add(id);
  drop(id);
}

export async function heard(message) {
  const job = jobs.get(message.job);
  if (message.kind === "look" && job && unfinished(job)) {
    const seen = looks.get(job.id) ?? looks.set(job.id, new Map()).get(job.id);
    seen.set(message.candidate, message);
    const grid = cards.get(job.id)?.querySelector(".grid");
    const tile = grid?.children[message.candidate];
    if (!tile) return;
    tile.classList.toggle("painting", !message.finished);
    const image = tile.querySelector("img") ?? tile.appendChild(make("img", { alt: "" }));
    image.alt = `candidate ${message.candidate}, ${message.finished ? "finished" : "in progress"}`;
    image.src = message.image;
  } else if (message.kind === "progress" && job && unfinished(job)) {
    const whole = job.ahead !== message.ahead || !job.share !== !message.share;
    Object.assign(job, { share: message.share, ahead: message.ahead, seconds_left: message.seconds_left });
    const card = cards.get(job.id);
    if (whole) { draw(job); return; }
    card.querySelector(".about").textContent = about(job);
    const progress = card.querySelector("progress");
    if (progress) { progress.value = job.share; progress.setAttribute("aria-label", `${Math.round(100 * job.share)} % painted`); }
  } else if (["queued", "ended", "marked"].includes(message.kind)) {
    await attempt(() => changed(message));
  } else if (message.kind === "deleted") { // here or in another tab
    forget(message.job);
    bar();
    if (!jobs.size) await attempt(load); // there may be older ones
  }
}

async function changed({ job, kind }) {
  if (filtering() && (kind === "marked" || !jobs.has(job))) return load(); // whether it matches, only the server knows
  let found;
  try { found = await call("GET", `api/jobs/${job}`); } catch (error) {
    if (error.status !== 404) throw error;
    drop(job); // deleted meanwhile
    bar();
    return;
  }
  take(found);
  if (kind === "ended" && found.state === "done") say(`Painted: ${title(found).slice(0, 60)}`);
}

export function start() {
  $("examples").replaceChildren(...EXAMPLES.map((text) => button(text, () => { change({ prompt: text }); $("prompt").focus(); })));
  let later;
  $("words").addEventListener("input", () => { clearTimeout(later); later = setTimeout(() => attempt(load), 250); });
  $("starred").addEventListener("change", () => attempt(load));
  $("older").addEventListener("click", () => attempt(older));
  $("cancel-all").addEventListener("click", () => attempt(() => call("DELETE", "api/jobs")));
  $("select").addEventListener("click", () => {
    selecting = !selecting;
    $("select").setAttribute("aria-pressed", selecting);
    $("select").textContent = selecting ? "Done" : "Select";
    if (!selecting) { picked.clear(); for (const card of cards.values()) card.classList.remove("chosen"); }
    bar();
  });
  $("delete-selected").addEventListener("click", () => attempt(async () => {
    const chosen = picked.size === 1 ? "1 job with its" : `${picked.size} jobs with their`;
    if (!confirm(`Delete ${chosen} pictures?`)) return;
    try { for (const id of [...picked]) await remove(id); } finally { bar(); }
    if (!jobs.size) await load(); // there may be older ones
  }));
}
