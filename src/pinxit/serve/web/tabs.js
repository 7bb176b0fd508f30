// The tabs, following the ARIA authoring practices: arrow keys move, the URL's fragment remembers.

import { $ } from "./net.js";

const names = ["paint", "edit", "classify", "search"];

export function show(name, focus = false) {
  for (const one of names) {
    const chosen = one === name;
    $(one).hidden = !chosen;
    $(`tab-${one}`).setAttribute("aria-selected", chosen);
    $(`tab-${one}`).tabIndex = chosen ? 0 : -1;
  }
  if (focus) $(`tab-${name}`).focus();
  history.replaceState(null, "", name === "paint" ? location.pathname + location.search : `#${name}`);
}

export function start() {
  for (const [at, name] of names.entries()) {
    $(`tab-${name}`).addEventListener("click", () => show(name));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { event.preventDefault(); show(names[(at + step + names.length) % names.length], true); }
    });
  }
  if (names.includes(location.hash.slice(1))) show(location.hash.slice(1));
}
