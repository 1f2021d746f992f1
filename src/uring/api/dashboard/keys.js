// Keys to browse and edit.  An edit says which revision it replaces, so nobody's change is lost.

import { $, ask, element, number, row, shown } from "./page.js";

let cursor = null;
let opened = null;

function keyRow(item) {
  const line = row([
    element("td", item.key, "value"), element("td", shown(item.value).slice(0, 200), "value"), number(item.revision),
  ]);
  line.tabIndex = 0;
  const open = () => {
    opened = item;
    $("key").value = item.key;
    $("value").value = shown(item.value);
    $("outcome").textContent = typeof item.value === "string" ? `revision ${item.revision}` : "bytes that are no text: they cannot be edited here";
    $("outcome").className = "";
    $("save").disabled = typeof item.value !== "string";
  };
  line.addEventListener("click", open);
  line.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  return line;
}

export async function list(more) {
  const query = new URLSearchParams({ prefix: $("prefix").value, limit: "50" });
  if (more && cursor) query.set("cursor", cursor);
  const { code, body } = await ask(`/kv?${query}`);
  $("keys-note").textContent = code === 403 ? body.detail : "";
  if (code !== 200) return;
  const rows = body.items.map(keyRow);
  if (more) $("keys").tBodies[0].append(...rows);
  else $("keys").tBodies[0].replaceChildren(...rows);
  cursor = body.cursor ?? null;
  $("more").hidden = cursor === null;
}

async function write(method, body) {
  const key = $("key").value;
  const headers = { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) };
  if (opened && opened.key === key) headers["If-Match"] = `"${opened.revision}"`;
  else if (method === "PUT") headers["If-None-Match"] = "*";
  const answer = await ask(`/kv/${encodeURIComponent(key)}`, { method, body, headers });
  $("outcome").textContent = answer.code < 300 ? "done" : `${answer.code}: ${answer.body?.detail ?? ""}`;
  $("outcome").className = answer.code < 300 ? "good" : "bad";
  if (answer.code < 300) {
    opened = method === "PUT" ? { key, value: body, revision: answer.body.revision } : null;
    await list(false);
  }
}

$("search").addEventListener("submit", (event) => { event.preventDefault(); list(false); });
$("more").addEventListener("click", () => list(true));
$("edit").addEventListener("submit", (event) => { event.preventDefault(); write("PUT", $("value").value); });
$("remove").addEventListener("click", () => { if (confirm(`Remove ${$("key").value}?`)) write("DELETE"); });
$("key").addEventListener("input", () => { $("save").disabled = false; });
