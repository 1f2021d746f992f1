// The members, and how fast they write.

import { $, bytes, element, number, row, shape } from "./page.js";

const HEARD_SECONDS = 3;
const POINTS = 120;

function stateOf(node) {
  if (node.age === undefined || node.age > HEARD_SECONDS) return "away";
  if (node.faults && node.faults.length) return "fault";
  return node.role === "Leader" ? "leads" : "follows";
}

function addressOf(node) {
  const link = element("a", node.address, "muted");
  link.href = `${location.protocol}//${node.address}/`;
  link.title = "the dashboard of that node";
  return link;
}

export function drawMembers(nodes) {
  const newest = Math.max(0, ...nodes.map((node) => node.applied_index ?? 0));
  const rows = nodes.map((node) => {
    const state = stateOf(node);
    const role = element("td", node.member ? (state === "away" ? "silent" : node.role) : "no member");
    role.className = { leads: "good", away: "bad", fault: "warn" }[state] ?? "";
    const lag = node.applied_index === undefined ? undefined : newest - node.applied_index;
    const name = element("td");
    name.append(element("strong", String(node.id)), " ", addressOf(node));
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

export function summarize(nodes) {
  const leader = nodes.find((node) => stateOf(node) === "leads");
  const voters = nodes.filter((node) => node.voter);
  const there = voters.filter((node) => stateOf(node) !== "away");
  const quorum = Math.floor(voters.length / 2) + 1;
  const parts = [
    leader ? `node ${leader.id} leads in term ${leader.term}` : "no leader known",
    `${there.length} of ${voters.length} voters heard`,
  ];
  if (voters.length) parts.push(`${Math.max(0, there.length - quorum)} more may fail`);
  $("summary").textContent = parts.join(" · ");
  $("summary").className = leader && there.length >= quorum ? (there.length < voters.length ? "warn" : "good") : "bad";
}

// -- rates ---------------------------------------------------------------------------------------

let before = null;
const rates = [];
const latencies = [];

function drawLine(id, values, unit) {
  const top = Math.max(1e-9, ...values);
  const points = values.map((value, place) => {
    const x = 300 - (values.length - 1 - place) * (300 / (POINTS - 1));
    return `${x.toFixed(1)},${(58 - 54 * (value / top)).toFixed(1)}`;
  });
  $(id).replaceChildren(shape("polyline", { points: points.join(" "), class: "curve" }));
  $(`${id}-top`).textContent = `at most ${figure(top)}${unit} in the last ${values.length} s`;
}

const figure = (value) => value < 10 ? value.toFixed(value < 1 ? 2 : 1) : Math.round(value).toLocaleString();

function push(values, value) {
  values.push(value);
  if (values.length > POINTS) values.shift();
}

// All clients' writes: how many, by what the most advanced node has applied; how long they took, by
// the nodes that they were sent to.
export function measure(nodes) {
  const now = new Map(nodes.filter((node) => node.commits !== undefined).map((node) => [node.id, node]));
  const at = performance.now();
  if (before) {
    const rate = [...now].map(([id, node]) => {
      const last = before.nodes.get(id);
      return last && node.commands >= last.commands ? (1000 * (node.commands - last.commands)) / (at - before.at) : 0;
    });
    push(rates, Math.max(0, ...rate));
    $("rate").textContent = `${figure(rates.at(-1))} /s`;
    drawLine("rates", rates, " /s");
    let commits = 0, seconds = 0;
    for (const [id, node] of now) {
      const last = before.nodes.get(id);
      if (last && node.commits > last.commits) {
        commits += node.commits - last.commits;
        seconds += node.commit_seconds - last.commit_seconds;
      }
    }
    if (commits) {
      push(latencies, (1000 * seconds) / commits);
      $("latency").textContent = `${latencies.at(-1).toFixed(2)} ms`;
      drawLine("latencies", latencies, " ms");
    }
  }
  before = { at, nodes: now };
}
