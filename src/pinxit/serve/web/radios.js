// Radio buttons made of buttons, following the ARIA authoring practices: one stop of the Tab key, moved by arrow keys.

export function radios(group) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...group.children];
    const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
    next.focus();
    next.click();
  });
}

// `is` tells of a button whether it is the one that is checked; where none is, the first can be reached.
export function check(group, is) {
  const all = [...group.children];
  const at = all.findIndex(is);
  for (const [place, one] of all.entries()) {
    one.setAttribute("aria-checked", place === at);
    one.tabIndex = place === Math.max(at, 0) ? 0 : -1;
  }
}
