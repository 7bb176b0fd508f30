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

export const shown = () => names.find((name) => !$(name).hidden);
const offered = () => names.filter((name) => !$(`tab-${name}`).hidden);

// What the server cannot do has no tab.
export function offer(name, can) {
  $(`tab-${name}`).hidden = !can;
  if (!can && !$(name).hidden) show("paint");
}

export function start() {
  for (const name of names) {
    $(`tab-${name}`).addEventListener("click", () => show(name));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const all = offered();
      if (step) { event.preventDefault(); show(all[(all.indexOf(name) + step + all.length) % all.length], true); }
    });
  }
  if (names.includes(location.hash.slice(1))) show(location.hash.slice(1));
}
