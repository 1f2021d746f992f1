// The ring as a picture: to whom each vnode is assigned, who still owns it, what is under way.

import { $, ask, element, log, number, paced, row, shape, shown } from "./page.js";

const SLICES = 1440; // a larger ring is drawn by so many samples
const HANDOFFS = 1000;
const RECENT_MS = 60_000;
const PAIRS = 20;

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

function ranges(vnodes) {
  const found = [];
  for (const vnode of vnodes) {
    if (Array.isArray(vnode)) { found.push(vnode); continue; }
    const last = found.at(-1);
    if (last && last[1] + 1 === vnode) last[1] = vnode;
    else found.push([vnode, vnode]);
  }
  return found;
}

// [first, last, place of the node] of each piece; of a large ring, of the vnodes that are sampled.
function assigned(ring) {
  const found = ring.nodes.flatMap((node, place) => node.ranges.map(([first, last]) => [first, last, place]));
  if (ring.size <= SLICES) return found;
  found.sort(([one], [other]) => one - other);
  const step = ring.size / SLICES;
  const slices = [];
  let next = 0;
  for (let slice = 0; slice < SLICES; slice += 1) {
    const vnode = Math.floor((slice + 0.5) * step);
    while (next < found.length && found[next][1] < vnode) next += 1;
    if (next === found.length || found[next][0] > vnode) continue;
    const place = found[next][2];
    const last = slices.at(-1);
    if (last && last[2] === place && last[3] === slice) { last[1] = (slice + 1) * step - 1; last[3] += 1; }
    else slices.push([slice * step, (slice + 1) * step - 1, place, slice + 1]);
  }
  return slices;
}

const recent = new Map(); // vnode range "first-last" -> {first, last, source, until}

function drawArcs(ring, handoffs) {
  const places = new Map(ring.nodes.map((node, place) => [node.id, place]));
  const colorOf = (name) => places.has(name) ? color(places.get(name)) : "var(--muted)";
  const piece = ([first, last], inner, outer, fill, kind, title) => shape("path", {
    d: arc(first / ring.size, (last + 1) / ring.size, inner, outer), fill, class: kind,
    "stroke-width": ring.size > 512 ? 0 : 0.6,
  }, title);
  const arcs = assigned(ring).map(([first, last, place]) => {
    const name = ring.nodes[place].id;
    return piece([first, last], 74, 103, color(place), "vnode", `${name}: ${Math.floor(first)}${last > first ? `-${Math.floor(last)}` : ""}`);
  });
  for (const each of handoffs) {
    arcs.push(piece([each.vnode, each.vnode], 58, 72, colorOf(each.owner), `vnode ${each.state}`,
      `vnode ${each.vnode}: ${each.owner ?? "nobody"} owns it, ${each.target ?? "nobody"} gets it, ${each.state}`));
  }
  for (const [key, each] of recent) {
    if (each.until < Date.now()) recent.delete(key);
    else arcs.push(piece([each.first, each.last], 104.5, 108, colorOf(each.source), "vnode", `moved just now, from ${each.source}`));
  }
  const label = shape("text", { "text-anchor": "middle", y: 8, "font-size": 24, fill: "currentColor" });
  label.textContent = ring.size.toLocaleString();
  $("ring").replaceChildren(...arcs, label);
}

function drawLoads(ring, sessions) {
  const most = Math.max(1, ...ring.nodes.map((node) => node.load));
  $("loads").tBodies[0].replaceChildren(...ring.nodes.map((node, place) => {
    const mark = element("td");
    const swatch = element("span", "", "key");
    swatch.style.background = color(place);
    mark.append(swatch);
    const session = sessions.get(node.id);
    const name = element("td", node.id, "name");
    if (session) name.append(" ", element("span", session.alive ? "takes part" : "gone", session.alive ? "good" : "bad"));
    if (node.zone) name.append(" ", element("span", node.zone, "muted"));
    const load = element("td", undefined, "load");
    const meter = element("meter");
    meter.max = most;
    meter.value = node.load;
    load.append(meter);
    return row([mark, name, number(node.weight), number(node.load), load]);
  }));
}

function drawHandoffs({ waiting, handoffs }) {
  const pairs = new Map();
  for (const each of handoffs) {
    const name = `${each.owner ?? "nobody"} → ${each.target ?? "nobody"}`;
    const pair = pairs.get(name) ?? { pending: [], transferring: [] };
    pair[each.state]?.push(each.vnode);
    pairs.set(name, pair);
  }
  const lines = [...pairs].slice(0, PAIRS).map(([name, { pending, transferring }]) => {
    const parts = [];
    if (transferring.length) parts.push(`under way: ${some(transferring)}`);
    if (pending.length) parts.push(`${pending.length} waiting`);
    return element("li", `${name}: ${parts.join("; ")}`, transferring.length ? "warn" : "");
  });
  if (waiting > handoffs.length) lines.push(element("li", `and ${waiting - handoffs.length} vnodes more`));
  $("handoffs").replaceChildren(...lines);
}

const some = (vnodes) => vnodes.slice(0, 12).join(", ") + (vnodes.length > 12 ? ` and ${vnodes.length - 12} more` : "");

export const drawRing = paced(async () => {
  const size = await ask("/mring");
  if (size.code !== 200) {
    $("ring-note").textContent = size.code === 404 ? "The ring has no size yet." : "";
    $("ring").replaceChildren();
    $("loads").tBodies[0].replaceChildren();
    $("handoffs").replaceChildren();
    return;
  }
  const [ring, under] = await Promise.all([
    ask("/mring/node?format=ranges"), ask(`/mring/handoff?count=${HANDOFFS}`),
  ]);
  if (ring.code !== 200 || under.code !== 200) return;
  const sessions = new Map(under.body.nodes.map((node) => [node.node, node]));
  drawArcs(ring.body, under.body.handoffs);
  drawLoads(ring.body, sessions);
  drawHandoffs(under.body);
  const { per_node: each, in_all: all } = under.body.limits;
  const first = ring.body.nodes.length ? `${ring.body.strategy}, ${ring.body.replicas} replica${ring.body.replicas > 1 ? "s" : ""}` : "No node is on the ring yet.";
  $("ring-note").textContent = under.body.waiting ? `${first}; hand-offs at a time: ${each} a node, ${all} in all` : first;
}, 500);

function note(relocations) {
  let count = 0;
  for (const [source, { destinations }] of Object.entries(relocations)) {
    for (const vnodes of Object.values(destinations)) {
      for (const [first, last] of ranges(vnodes)) {
        count += last - first + 1;
        recent.set(`${first}-${last}`, { first, last, source, until: Date.now() + RECENT_MS });
      }
    }
  }
  while (recent.size > SLICES) recent.delete(recent.keys().next().value);
  setTimeout(drawRing, RECENT_MS + 1000);
  return count;
}

const NEWS = {
  SetSize: (it) => `the ring has ${it.size} vnodes (${it.strategy})`,
  NodeAdded: (it) => `${it.node} added: ${note(it.relocations)} vnodes move`,
  NodeRemoved: (it) => `${it.node} removed: ${note(it.relocations)} vnodes move`,
  RingChanged: (it) => `${[...(it.added ?? []).map((name) => `+${shown(name)}`), ...(it.removed ?? []).map((name) => `-${shown(name)}`)].join(" ") || "weights"}: ${note(it.relocations)} vnodes move`,
  NodeJoined: (it) => `${it.node} takes part, at ${it.address}`,
  NodeGone: (it) => `${it.node} is gone; it owned ${Array.isArray(it.vnodes) ? it.vnodes.length : it.vnodes} vnodes`,
  NodeAbandoned: (it) => `${it.node} was given up`,
  Handoff: (it) => `vnode ${it.vnode}: ${it.state}, ${it.source ?? "nobody"} → ${it.target ?? "nobody"}`,
};

export function ringChanged(event) {
  const [kind, about] = Object.entries(event)[0];
  log("moves", (NEWS[kind]?.(about) ?? `${kind} ${shown(about)}`).slice(0, 300));
  drawRing();
}
