"use strict";
// One page, no build step, nothing from elsewhere. What comes from the cluster is only ever set as
// text, never as markup.

const $ = (id) => document.getElementById(id);
const SPAN_MS = 600_000;
const POINTS = 120;
const SVG = "http://www.w3.org/2000/svg";

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function shape(name, attributes, title) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (title) {
    const label = document.createElementNS(SVG, "title");
    label.textContent = title;
    made.append(label);
  }
  return made;
}

function row(cells) {
  const made = element("tr");
  for (const cell of cells) made.append(cell instanceof Node ? cell : element("td", cell));
  return made;
}

const number = (value, unit = "") => element("td", value === undefined || value === null ? "-" : value + unit, "number");

function bytes(value) {
  if (!(value >= 0)) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value.toFixed(value < 10 && unit ? 1 : 0)} ${units[unit]}`;
}

function shown(value) {
  if (value === null || value === undefined) return "-";
  return typeof value === "string" ? value : JSON.stringify(value);
}

// The token is forgotten when the tab is closed.
const token = () => sessionStorage.getItem("token");

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  $("access").hidden = response.status !== 401 && response.status !== 429;
  const text = await response.text();
  let body = text;
  try { body = text ? JSON.parse(text) : null; } catch { /* /metrics is no JSON */ }
  return { code: response.status, body, etag: response.headers.get("ETag") };
}

// -- the cluster ---------------------------------------------------------------------------------

const HEARD_MS = 3000;
const past = new Map(); // node id -> [{at, state}], oldest first

function stateOf(node) {
  if (node.age === undefined || node.age * 1000 > HEARD_MS) return "away";
  if (node.faults && node.faults.length) return "fault";
  return node.role === "Leader" ? "leads" : "follows";
}

function remember(nodes) {
  const now = Date.now();
  for (const node of nodes) {
    const seen = past.get(node.id) ?? [];
    const state = stateOf(node);
    if (!seen.length || seen.at(-1).state !== state) seen.push({ at: now, state });
    while (seen.length > 1 && seen[1].at < now - SPAN_MS) seen.shift();
    past.set(node.id, seen);
  }
  for (const id of past.keys()) if (!nodes.some((node) => node.id === id)) past.delete(id);
}

function drawTimeline() {
  const now = Date.now();
  const rows = [...past.entries()].sort(([a], [b]) => a - b);
  const height = 120 / Math.max(1, rows.length);
  const bars = [];
  rows.forEach(([id, seen], line) => {
    seen.forEach(({ at, state }, place) => {
      const begin = Math.max(0, 1000 * (1 - (now - at) / SPAN_MS));
      const next = seen[place + 1];
      const end = next ? 1000 * (1 - (now - next.at) / SPAN_MS) : 1000;
      if (end <= begin) return;
      bars.push(shape("rect", {
        x: begin, y: line * height + 2, width: end - begin, height: height - 4, class: state,
      }, `node ${id} ${state} since ${new Date(at).toLocaleTimeString()}`));
    });
  });
  $("timeline").replaceChildren(...bars);
}

function drawMembers(nodes) {
  const newest = Math.max(0, ...nodes.map((node) => node.applied_index ?? 0));
  const rows = nodes.map((node) => {
    const state = stateOf(node);
    const role = element("td", node.member ? (state === "away" ? "not heard of" : node.role) : "no member");
    role.className = { leads: "good", away: "bad", fault: "warn" }[state] ?? "";
    const lag = node.applied_index === undefined ? undefined : newest - node.applied_index;
    const name = element("td");
    name.append(element("strong", String(node.id)), " ", element("span", node.address, "muted"));
    return row([
      name, role, number(node.term), number(node.applied_index), number(lag),
      number(node.log_write_ms?.toFixed(2), " ms"), number(node.round_trip_ms?.toFixed(2), " ms"),
      number(node.reactor_delay_ms?.toFixed(0), " ms"), number(bytes(node.disk_free)),
      number(node.age?.toFixed(1), " s"),
    ]);
  });
  $("members").tBodies[0].replaceChildren(...rows);
  const faults = nodes.flatMap((node) => (node.faults ?? []).map((fault) => `node ${node.id}: ${fault}`));
  $("faults").replaceChildren(...faults.map((fault) => element("li", fault, "bad")));
}

function summarize(nodes) {
  const leader = nodes.find((node) => stateOf(node) === "leads");
  const voters = nodes.filter((node) => node.voter);
  const there = voters.filter((node) => stateOf(node) !== "away");
  const quorum = Math.floor(voters.length / 2) + 1;
  const parts = [
    leader ? `node ${leader.id} leads in term ${leader.term}` : "no leader known",
    `${there.length} of ${voters.length} voters heard`,
  ];
  if (voters.length) parts.push(`${there.length - quorum} more may fail`);
  $("summary").textContent = parts.join(" · ");
  $("summary").className = leader && there.length >= quorum ? (there.length < voters.length ? "warn" : "good") : "bad";
}

// -- rates ---------------------------------------------------------------------------------------

let before = null;
const rates = [];
const latencies = [];

function series(text, name) {
  const line = text.split("\n").find((each) => each.startsWith(`${name} `));
  return line ? Number(line.slice(name.length + 1)) : 0;
}

function drawLine(svg, values) {
  const top = Math.max(1e-9, ...values);
  const points = values.map((value, place) => {
    const x = 300 - (values.length - 1 - place) * (300 / (POINTS - 1));
    return `${x.toFixed(1)},${(58 - 54 * (value / top)).toFixed(1)}`;
  });
  svg.replaceChildren(
    shape("polyline", { points: points.join(" "), fill: "none", stroke: "var(--blue)", "stroke-width": "1.5", "vector-effect": "non-scaling-stroke" }),
  );
}

function push(values, value) {
  values.push(value);
  if (values.length > POINTS) values.shift();
}

async function measure() {
  const { code, body } = await ask("/metrics");
  if (code !== 200) return;
  const now = {
    at: performance.now(),
    commands: series(body, "uring_commands_applied_total"),
    count: series(body, "uring_commit_seconds_count"),
    sum: series(body, "uring_commit_seconds_sum"),
  };
  if (before && now.commands >= before.commands) {
    const seconds = (now.at - before.at) / 1000;
    const rate = (now.commands - before.commands) / seconds;
    push(rates, rate);
    $("rate").textContent = rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString();
    drawLine($("rates"), rates);
    if (now.count > before.count) {
      const milliseconds = (1000 * (now.sum - before.sum)) / (now.count - before.count);
      push(latencies, milliseconds);
      $("latency").textContent = `${milliseconds.toFixed(2)} ms`;
      drawLine($("latencies"), latencies);
    }
  }
  before = now;
}

// -- the ring ------------------------------------------------------------------------------------

const color = (place) => `hsl(${Math.round(215 + 137.5 * place) % 360} 48% ${50 + 8 * (place % 3)}%)`;

function arc(begin, end, inner, outer) {
  const at = (turn, radius) => {
    const angle = 2 * Math.PI * turn - Math.PI / 2;
    return `${(radius * Math.cos(angle)).toFixed(2)} ${(radius * Math.sin(angle)).toFixed(2)}`;
  };
  if (end - begin >= 1) end = begin + 0.9999;
  const large = end - begin > 0.5 ? 1 : 0;
  return `M${at(begin, outer)} A${outer} ${outer} 0 ${large} 1 ${at(end, outer)} L${at(end, inner)} A${inner} ${inner} 0 ${large} 0 ${at(begin, inner)} Z`;
}

function rangesOf(vnodes) {
  const found = [];
  for (const vnode of vnodes) {
    if (Array.isArray(vnode)) { found.push([vnode[0], vnode[1] - vnode[0] + 1]); continue; }
    const last = found.at(-1);
    if (last && last[0] + last[1] === vnode) last[1] += 1;
    else found.push([vnode, 1]);
  }
  return found;
}

const ARCS_MAX = 4000;

async function drawRing() {
  const [size, nodes] = await Promise.all([ask("/mring"), ask("/mring/node")]);
  if (size.code !== 200 || nodes.code !== 200 || !Array.isArray(nodes.body)) {
    $("ring-note").textContent = size.code === 404 ? "The ring has no size yet." : "";
    $("ring").replaceChildren();
    $("loads").tBodies[0].replaceChildren();
    return;
  }
  const total = size.body.size;
  const arcs = [];
  const rows = nodes.body.map((node, place) => {
    const fill = color(place);
    const ranges = rangesOf(node.vnodes);
    for (const [begin, count] of ranges) {
      if (arcs.length >= ARCS_MAX) break;
      arcs.push(shape("path", {
        d: arc(begin / total, (begin + count) / total, 62, 105), fill, stroke: "var(--card)",
        "stroke-width": total > 512 ? 0 : 0.6,
      }, `${node.id}: ${begin}${count > 1 ? `-${begin + count - 1}` : ""}`));
    }
    const mark = element("td");
    const swatch = element("span", "", "key");
    swatch.style.background = fill;
    mark.append(swatch);
    return row([mark, node.id, number(ranges.reduce((sum, [, count]) => sum + count, 0))]);
  });
  const label = shape("text", { "text-anchor": "middle", y: 8, "font-size": 24, fill: "currentColor" });
  label.textContent = total.toLocaleString();
  $("ring").replaceChildren(...arcs, label);
  $("loads").tBodies[0].replaceChildren(...rows);
  $("ring-note").textContent = nodes.body.length ? "" : "No node is on the ring yet.";
}

function moved(event) {
  const [kind, about] = Object.entries(event)[0];
  if (!about.relocations) return `${kind} ${shown(about.size ?? about)}`;
  const count = Object.values(about.relocations)
    .flatMap((source) => Object.values(source.destinations))
    .reduce((sum, vnodes) => sum + rangesOf(vnodes).reduce((all, [, each]) => all + each, 0), 0);
  return `${kind} ${about.node}: ${count} vnodes move`;
}

// -- keys ----------------------------------------------------------------------------------------

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
    $("save").disabled = typeof item.value !== "string";
  };
  line.addEventListener("click", open);
  line.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  return line;
}

async function list(more) {
  const query = new URLSearchParams({ prefix: $("prefix").value, limit: "50" });
  if (more && cursor) query.set("cursor", cursor);
  const { code, body } = await ask(`/kv?${query}`);
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

// -- live ----------------------------------------------------------------------------------------

const EVENTS_MAX = 100;
let listing = 0;

function log(id, text) {
  const line = element("li", `${new Date().toLocaleTimeString()}  ${text}`);
  $(id).prepend(line);
  while ($(id).childElementCount > EVENTS_MAX) $(id).lastElementChild.remove();
}

const pending = [];

function heard({ channel, msg }) {
  if (channel === "mring") {
    log("moves", moved(msg));
    drawRing();
  } else if (channel === "uring") {
    log("events", `uring ${shown(msg)}`.slice(0, 300));
  } else {
    const [kind, about] = Object.entries(msg)[0];
    pending.push(`${kind} ${about.key} = ${shown(about.new ?? null).slice(0, 120)}`);
    if (pending.length > EVENTS_MAX) pending.shift();
    listing ||= setTimeout(() => { listing = 0; list(false); }, 2000);
  }
}

function flush() {
  for (const text of pending.splice(0)) log("events", text);
}

let pause = 500;

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/uring`);
  socket.onopen = () => {
    pause = 500;
    $("live").textContent = "live";
    $("live").className = "badge good";
    if (token()) socket.send(JSON.stringify({ Auth: { rid: 0, token: token() } }));
    for (const channel of ["kv", "mring", "uring"]) socket.send(JSON.stringify({ Subscribe: { channel } }));
    drawRing();
    list(false);
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.Msg) heard(message.Msg);
  };
  $("access").onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", $("token").value.trim());
    $("token").value = "";
    socket.close();
  };
  socket.onclose = () => {
    $("live").textContent = "offline";
    $("live").className = "badge bad";
    setTimeout(connect, pause);
    pause = Math.min(10_000, pause * 2);
  };
}

async function look() {
  try {
    const { code, body } = await ask("/cluster");
    if (code === 200) {
      remember(body);
      drawMembers(body);
      summarize(body);
    } else {
      $("summary").textContent = body?.detail ?? `the node answers ${code}`;
      $("summary").className = "bad";
    }
    await measure();
  } catch {
    $("summary").textContent = "this node does not answer";
    $("summary").className = "bad";
    for (const seen of past.values()) if (seen.at(-1).state !== "away") seen.push({ at: Date.now(), state: "away" });
  }
  drawTimeline();
  flush();
  setTimeout(look, document.hidden ? 5000 : 1000);
}

$("search").addEventListener("submit", (event) => { event.preventDefault(); list(false); });
$("more").addEventListener("click", () => list(true));
$("edit").addEventListener("submit", (event) => { event.preventDefault(); write("PUT", $("value").value); });
$("remove").addEventListener("click", () => { if (confirm(`Remove ${$("key").value}?`)) write("DELETE"); });
$("key").addEventListener("input", () => { $("save").disabled = false; });
connect();
look();
