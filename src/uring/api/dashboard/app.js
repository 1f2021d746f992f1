// The dashboard: looks at the cluster every second, and hears of changes over the WebSocket.
// No build step, and nothing from elsewhere.

import { drawMembers, measure, summarize } from "./cluster.js";
import { list } from "./keys.js";
import { $, ask, log, shown, token } from "./page.js";
import { drawRing, ringChanged } from "./ring.js";
import { drawTimeline } from "./timeline.js";

const PENDING_MAX = 100;
const pending = [];
let listing = 0;
let pause = 500;

function heard({ channel, msg }) {
  if (channel === "mring") {
    ringChanged(msg);
  } else if (channel === "uring") {
    log("events", `uring ${shown(msg)}`.slice(0, 300));
  } else {
    const [kind, about] = Object.entries(msg)[0];
    pending.push(`${kind} ${about.key} = ${shown(about.new ?? null).slice(0, 120)}`);
    if (pending.length > PENDING_MAX) pending.shift();
    listing ||= setTimeout(() => { listing = 0; list(false); }, 2000);
  }
}

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
    $("refused").textContent = "";
    socket.close(); // all begins anew, with the token
    look();
  };
  socket.onclose = () => {
    $("live").textContent = "offline";
    $("live").className = "badge bad";
    setTimeout(connect, pause);
    pause = Math.min(10_000, pause * 2);
  };
}

let next = 0;
let looking = false;

async function look() {
  if (looking) return;
  looking = true;
  clearTimeout(next);
  try {
    const [cluster, told] = await Promise.all([ask("/cluster"), ask("/cluster/timeline")]);
    if (cluster.code === 200) {
      drawMembers(cluster.body);
      summarize(cluster.body);
      measure(cluster.body);
    } else {
      $("summary").textContent = cluster.body?.detail ?? `the node answers ${cluster.code}`;
      $("summary").className = "bad";
      if (token()) $("refused").textContent = "this token will not do";
    }
    if (told.code === 200) drawTimeline(told.body);
  } catch {
    $("summary").textContent = "this node does not answer; below are links to the others";
    $("summary").className = "bad";
  }
  for (const text of pending.splice(0)) log("events", text);
  looking = false;
  next = setTimeout(look, document.hidden ? 5000 : 1000);
}

$("span").addEventListener("change", look);
connect();
look();
