// Starts all parts of the page.

import { $, attempt, listen, say } from "./net.js";
import * as blend from "./blend.js";
import * as edit from "./edit.js";
import * as form from "./form.js";
import * as jobs from "./jobs.js";
import { readSettings } from "./metadata.js";
import * as tabs from "./tabs.js";
import * as tools from "./tools.js";
import * as viewer from "./viewer.js";

// What opens a picture in the tab that is shown; undefined on the first, where its settings are read.
const opener = () => ({ edit: edit.openFile, classify: tools.openFile })[tabs.shown()];

async function dropped(file) {
  const open = opener();
  if (open) { await open(file); return; }
  const facts = readSettings(await file.arrayBuffer());
  if (!facts) { say("That file holds no settings: only pictures made by pinxit do.", true); return; }
  viewer.openFacts(facts, URL.createObjectURL(file));
}

function dropping() {
  let depth = 0;
  const inside = (by) => { depth += by; document.body.classList.toggle("dropping", depth > 0); };
  const files = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => files(event) && inside(1));
  document.addEventListener("dragleave", (event) => files(event) && inside(-1));
  document.addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    depth = 0;
    inside(0);
    const [file] = event.dataTransfer.files;
    if (file) attempt(() => dropped(file));
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file && opener()) { event.preventDefault(); attempt(() => dropped(file)); }
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(TEXTAREA|INPUT|SELECT)$/.test(event.target.tagName) && !$("viewer").open) {
    event.preventDefault();
    tabs.show("paint");
    $("prompt").focus();
  }
});

tabs.start();
jobs.start();
viewer.start();
tools.start();
blend.start();
dropping();
form.start((painted) => { painted.forEach(jobs.take); window.scrollTo(0, 0); });
say("Loading …", false, true);
for (;;) {
  try {
    await form.load();
    break;
  } catch (error) {
    say(error.message, true);
    await new Promise((go) => setTimeout(go, 1500));
  }
}
edit.start();
tabs.offer("edit", form.canAny("edit"));
for (const name of ["classify", "search"]) tabs.offer(name, form.canAny("embed"));
listen(jobs.heard, jobs.load);
