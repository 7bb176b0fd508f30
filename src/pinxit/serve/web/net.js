// Calls of the server, and its stream of job events. All URLs are relative, so that the page works below any path of a proxy.

const KEY = "pinxit-key";
const SILENT_MS = 45_000; // the server writes a line every 15 s; after three missing ones the connection is dead
export const $ = (id) => document.getElementById(id);

export class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

let key = "";
try { key = sessionStorage.getItem(KEY) ?? ""; } catch { /* forbidden: asked for after each reload */ }

const headers = (more) => (key ? { ...more, authorization: `Bearer ${key}` } : more);

function takeKey() {
  if (!$("key").checkValidity()) return; // closed by Escape; what is no ASCII cannot even be sent
  key = $("key").value.trim();
  try { sessionStorage.setItem(KEY, key); } catch { /* as above */ }
}

let asking = null;
// `used` was refused; if another key has been entered since, it is tried before anything is asked.
async function askKey(used) {
  if (used !== key) return;
  asking ??= new Promise((done) => {
    $("ask-key").addEventListener("close", () => { takeKey(); asking = null; done(); }, { once: true });
    $("key-wrong").hidden = !used;
    $("ask-key").showModal();
    $("key").select();
  });
  await asking;
}

export async function call(method, path, body, more = {}) {
  for (;;) {
    const used = key;
    let answer;
    try {
      const about = body === undefined ? {} : { "content-type": "application/json" };
      answer = await fetch(path, { method, headers: headers({ ...about, ...more }), body: body && JSON.stringify(body) });
    } catch {
      throw new Refused("The server cannot be reached.", 0);
    }
    if (answer.status === 401) { await askKey(used); continue; }
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refused(found.error?.message ?? `The server answered ${answer.status}.`, answer.status);
    return found;
  }
}

let fading;
// Also in the viewer: what lies behind an open dialog is neither seen nor read out. Good news goes by itself.
export function say(text, bad = false, stays = bad) {
  for (const line of document.querySelectorAll("[role=status]")) {
    line.textContent = text;
    line.classList.toggle("bad", bad);
  }
  clearTimeout(fading);
  if (!stays) fading = setTimeout(() => say(""), 8000);
}

// Answers may overtake each other. `const last = turn(); await …; if (!last()) return;` heeds only the last question's.
export function turns() {
  let count = 0;
  return () => { const mine = ++count; return () => mine === count; };
}

// Calls `heard` with every message, and `joined` after every (re)connection, to load what was missed.
export async function listen(heard, joined) {
  let wait = 500;
  for (;;) {
    const used = key, stop = new AbortController();
    let alarm;
    const alive = () => { clearTimeout(alarm); alarm = setTimeout(() => stop.abort(), SILENT_MS); };
    try {
      alive();
      const answer = await fetch("api/events", { headers: headers({}), signal: stop.signal });
      if (answer.status === 401) { await askKey(used); continue; }
      if (!answer.ok) throw new Error();
      say("");
      wait = 500;
      await joined();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ;) {
        const { done, value } = await reader.read();
        if (done) break;
        alive();
        const parts = (text + value).split("\n\n");
        text = parts.pop();
        for (const part of parts) if (part.startsWith("data: ")) heard(JSON.parse(part.slice(6)));
      }
    } catch { /* shown below */ } finally { clearTimeout(alarm); }
    say("Not connected. Trying again …", true);
    await new Promise((go) => setTimeout(go, wait));
    wait = Math.min(wait * 1.7, 10000);
  }
}

export function make(tag, about = {}, ...inside) {
  const { dataset, ...rest } = about;
  const found = Object.assign(document.createElement(tag), rest);
  Object.assign(found.dataset, dataset);
  found.append(...inside);
  return found;
}

// Replaces what is in `place`; the focus stays on the button of the same name, or else in `place`.
export function redraw(place, ...parts) {
  const named = (one) => one.dataset.does ?? one.dataset.picture;
  const held = place.contains(document.activeElement) ? document.activeElement : null;
  place.replaceChildren(...parts);
  if (held) ([...place.querySelectorAll("button")].find((one) => named(one) === named(held)) ?? place).focus({ preventScroll: true });
}

export async function attempt(action) {
  try { return await action(); } catch (error) { say(error.message, true); return undefined; }
}

export const asDataUrl = (file) => new Promise((done, fail) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.onerror = () => fail(new Refused("The file cannot be read.", 0));
  reader.readAsDataURL(file);
});
