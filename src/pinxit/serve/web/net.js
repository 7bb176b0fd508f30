// Calls of the server, and its stream of job events. All URLs are relative, so that the page works below any path of a proxy.

const KEY = "pinxit-key";
export const $ = (id) => document.getElementById(id);

export class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

let asking = null;
function askKey() {
  asking ??= new Promise((done) => {
    const dialog = $("ask-key");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, $("key").value.trim());
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export async function call(method, path, body, more = {}) {
  for (;;) {
    let answer;
    try {
      const about = body === undefined ? {} : { "content-type": "application/json" };
      answer = await fetch(path, { method, headers: headers({ ...about, ...more }), body: body && JSON.stringify(body) });
    } catch {
      throw new Refused("The server cannot be reached.", 0);
    }
    if (answer.status === 401) { await askKey(); continue; }
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refused(found.error?.message ?? `The server answered ${answer.status}.`, answer.status);
    return found;
  }
}

export function say(text, bad = false) {
  const line = $("status");
  line.textContent = text;
  line.classList.toggle("bad", bad);
}

// Calls `heard` with every message, and `joined` after every (re)connection, to load what was missed.
export async function listen(heard, joined) {
  let wait = 500;
  for (;;) {
    try {
      const answer = await fetch("api/events", { headers: headers({}) });
      if (answer.status === 401) { await askKey(); continue; }
      if (!answer.ok) throw new Error();
      say("");
      wait = 500;
      await joined();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ;) {
        const { done, value } = await reader.read();
        if (done) break;
        const parts = (text + value).split("\n\n");
        text = parts.pop();
        for (const part of parts) if (part.startsWith("data: ")) heard(JSON.parse(part.slice(6)));
      }
    } catch { /* shown below */ }
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

export async function attempt(action) {
  try { return await action(); } catch (error) { say(error.message, true); return undefined; }
}

export const asDataUrl = (file) => new Promise((done, fail) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.onerror = () => fail(new Refused("The file cannot be read.", 0));
  reader.readAsDataURL(file);
});
