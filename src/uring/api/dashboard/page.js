// What the parts of the page share: making elements, asking the node, spelling figures.
// What comes from the cluster is only ever set as text, never as markup.

export const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const LINES_MAX = 100;

export function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

export function shape(name, attributes, title) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (title) {
    const label = document.createElementNS(SVG, "title");
    label.textContent = title;
    made.append(label);
  }
  return made;
}

export function row(cells) {
  const made = element("tr");
  for (const cell of cells) made.append(cell instanceof Node ? cell : element("td", cell));
  return made;
}

export const number = (value, unit = "") =>
  element("td", value === undefined || value === null ? "-" : value + unit, "number");

export function bytes(value) {
  if (!(value >= 0)) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value.toFixed(value < 10 && unit ? 1 : 0)} ${units[unit]}`;
}

export function shown(value) {
  if (value === null || value === undefined) return "-";
  return typeof value === "string" ? value : JSON.stringify(value);
}

export const clock = (milliseconds) => new Date(milliseconds).toLocaleTimeString();

export function log(id, text) {
  $(id).prepend(element("li", `${clock(Date.now())}  ${text}`));
  while ($(id).childElementCount > LINES_MAX) $(id).lastElementChild.remove();
}

// The token is forgotten when the tab is closed.
export const token = () => sessionStorage.getItem("token");

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  $("access").hidden = response.status !== 401 && response.status !== 429;
  const text = await response.text();
  let body = text;
  try { body = text ? JSON.parse(text) : null; } catch { /* no JSON: shown as it is */ }
  return { code: response.status, body };
}

// Run work at once, and again when asked to meanwhile; but no more often than every so many
// milliseconds, nor more than a tenth of the time.
export function paced(work, every) {
  let busy = false, again = false;
  return async function run() {
    if (busy) { again = true; return; }
    busy = true;
    const began = performance.now();
    try { await work(); } catch { /* the node is away: who looks at the cluster says so */ }
    setTimeout(() => {
      busy = false;
      if (again) { again = false; run(); }
    }, Math.max(every, 9 * (performance.now() - began)));
  };
}
