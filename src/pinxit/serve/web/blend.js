// Interpolation between two pictures: the first is chosen in its details, the second in the list.

import { $, make, say } from "./net.js";
import { paint, painters } from "./form.js";
import { take } from "./jobs.js";
import { show as showTab } from "./tabs.js";

let first = null; // {job, picture}

export const waiting = () => first !== null;

export function begin(job, picture) {
  first = { job, picture };
  $("blend-first").replaceChildren(make("img", { src: picture.url, alt: job.prompt || "the first picture" }));
  $("blend-bar").hidden = false;
  showTab("paint"); // the second is chosen there, also if the first was found by searching
  say("Choose the second picture.");
  document.querySelector(".tile[data-picture]")?.focus();
}

function end() {
  first = null;
  $("blend-bar").hidden = true;
}

export async function choose(job, picture) {
  const { job: before, picture: one } = first;
  if (one.id === picture.id) { say("Choose another picture than the first one.", true); return; }
  const names = [before.prompt, job.prompt].filter(Boolean);
  const recipe = painters("blend").find((found) => found.id === before.recipe) ?? painters("blend")[0];
  const count = Number($("blend-count").value);
  const asked = { kind: "blend", image: one.id, other: picture.id, prompt: names.join(" → "), recipes: [recipe.id], candidates: count, keep: count, size: "auto" };
  const jobs = await paint(asked);
  if (jobs) { end(); jobs.forEach(take); window.scrollTo(0, 0); }
}

export function start() {
  const said = () => { $("blend-said").value = $("blend-count").value; };
  $("blend-count").addEventListener("input", said);
  $("blend-cancel").addEventListener("click", () => { end(); say(""); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && waiting() && !$("viewer").open) $("blend-cancel").click(); });
  said();
}
