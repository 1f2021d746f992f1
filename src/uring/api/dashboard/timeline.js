// Who led, who was silent, what failed: drawn from what the node remembers, so that it is there
// when the page is opened afterwards.

import { $, clock, element, shape } from "./page.js";

const WIDTH = 1000;
const NARROW = 3; // what lasts less is drawn so wide: an election is over in a moment
const LINES = 60;

const WORDS = {
  leader: (it) => it.leader ? `node ${it.leader} leads in term ${it.term}` : `node ${it.was} does not lead any more`,
  campaign: (it) => `node ${it.node} asks for votes in term ${it.term}`,
  silent: (it) => `node ${it.node} is not heard of any more`,
  heard: (it) => `node ${it.node} is heard of again`,
  restarted: (it) => `node ${it.node} was started again`,
  stalled: (it) => `node ${it.node}, which tells this, stood still for ${it.seconds} s`,
  fault: (it) => `node ${it.node}: ${it.fault}`,
  mended: (it) => `node ${it.node} again without: ${it.fault}`,
  joined: (it) => `node ${it.node} became a member`,
  left: (it) => `node ${it.node} is no member any more`,
};
const KINDS = { silent: "bad", fault: "bad", stalled: "bad", campaign: "warn", heard: "good", mended: "good" };

// Each of these goes from an event to how things were before it.
function before(state, event, id) {
  const mine = event.node === id;
  if (event.kind === "leader") return { ...state, leader: event.was };
  if (!mine) return state;
  if (event.kind === "silent") return { ...state, silent: false };
  if (event.kind === "heard") return { ...state, silent: true };
  if (event.kind === "fault") return { ...state, faults: state.faults.filter((each) => each !== event.fault) };
  if (event.kind === "mended") return { ...state, faults: [...state.faults, event.fault] };
  if (event.kind === "joined") return { ...state, there: false };
  if (event.kind === "left") return { ...state, there: true };
  return state;
}

// The pieces of one line, newest first: [seconds ago when it began, when it ended, state].
function pieces(told, id, now) {
  const found = [];
  let state = now, end = 0;
  for (const event of told.events.toReversed()) {
    const was = before(state, event, id);
    if (was === state && event.kind !== "stalled") continue;
    found.push([event.ago, end, state]);
    end = event.ago;
    state = was;
    if (event.kind === "stalled" && event.node === told.node) {
      found.push([event.ago + event.seconds, event.ago, { ...state, unknown: true }]);
      end = event.ago + event.seconds;
    }
  }
  found.push([told.since, end, state]);
  return found;
}

function bar(span, began, ended, kind, title) {
  if (ended >= span) return null;
  const begin = Math.max(0, WIDTH * (1 - began / span));
  const width = Math.max(NARROW, WIDTH * (1 - ended / span) - begin);
  return shape("rect", { x: Math.min(begin, WIDTH - width), y: 0, width, height: 20, class: kind }, title);
}

function line(name, span, parts) {
  const made = element("div", undefined, "line");
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} 20`, preserveAspectRatio: "none", role: "img", "aria-label": name });
  svg.append(...parts.filter(Boolean));
  made.append(element("span", name), svg);
  return made;
}

function kindOf(state, id) {
  if (state.unknown || !state.there) return null;
  if (state.silent) return "away";
  if (state.faults.length) return "fault";
  return state.leader === id ? "leads" : "follows";
}

const SAID = { away: "silent", fault: "fault", leads: "leads", follows: "follows" };

function nodeLine(told, span, node) {
  const now = { leader: told.leader, silent: node.silent, faults: node.faults, there: true };
  const parts = pieces(told, node.id, now).map(([began, ended, state]) => {
    const kind = kindOf(state, node.id);
    const since = clock(Date.now() - 1000 * began);
    return kind && bar(span, began, ended, kind, `node ${node.id}: ${SAID[kind]} since ${since}`);
  });
  return line(`node ${node.id}`, span, parts);
}

// What is short and matters is drawn last, over its neighbours.
function leaderLine(told, span) {
  const parts = pieces(told, null, { leader: told.leader }).map(([began, ended, state]) => {
    const kind = state.unknown ? null : state.leader ? "follows" : "fault";
    const title = state.leader ? `node ${state.leader} led` : "no leader";
    return kind && bar(span, began, ended, kind, `${title} since ${clock(Date.now() - 1000 * began)}`);
  });
  const first = parts.filter((part) => part && part.getAttribute("class") === "follows");
  return line("leader", span, [...first, ...parts.filter((part) => part && !first.includes(part))]);
}

function axis(span) {
  const made = element("div", undefined, "axis");
  for (const part of [1, 0.75, 0.5, 0.25, 0]) {
    made.append(element("span", part ? `-${Math.round((part * span) / 60 * 10) / 10} min` : "now"));
  }
  return made;
}

export function drawTimeline(told) {
  const span = Number($("span").value);
  const lines = told.members.map((node) => nodeLine(told, span, node));
  $("timeline").replaceChildren(leaderLine(told, span), ...lines, axis(span));
  const events = told.events.filter((event) => event.ago <= span).toReversed().slice(0, LINES);
  $("history").replaceChildren(...events.map((event) => {
    const words = WORDS[event.kind]?.(event) ?? event.kind;
    return element("li", `${clock(Date.now() - 1000 * event.ago)}  ${words}`, KINDS[event.kind] ?? (event.leader ? "good" : event.kind === "leader" ? "bad" : ""));
  }));
  $("history-note").textContent = told.since < span
    ? `node ${told.node} remembers the last ${Math.round(told.since / 6) / 10} min` : events.length ? "" : "nothing happened";
}
