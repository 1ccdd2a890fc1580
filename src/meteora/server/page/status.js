// The status page: asks /status.json every two seconds and shows the answer. What nodes say becomes text, never HTML.
"use strict";

const ASK_EVERY_MS = 2000;
const GIVE_UP_MS = 5000;
const SVG = "http://www.w3.org/2000/svg";
// The numbers of a sample, in the order in which they are sent.
const AT = 0, REQUESTS = 1, WRITES = 2, REQUEST_P50 = 3, REQUEST_P99 = 4, DISK_P99 = 5;
const PLOTS = [
  { title: "Throughput", unit: "per second", series: [["requests here", REQUESTS], ["writes applied", WRITES]] },
  { title: "Request time", unit: "ms", series: [["median", REQUEST_P50], ["99 %", REQUEST_P99]] },
  { title: "Write to the log", unit: "ms", series: [["99 %", DISK_P99]] },
];
const CLASSES = ["first", "second"];

const byId = (id) => document.getElementById(id);
const PLOT_MINUTES = 5;
let heardAt = null;
let shownVersion = null;
let wake = () => {};
// What is on the page, by the part of it.
const shown = {};

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// What has not changed is left alone: so it can be selected and keeps the focus, and screen readers don't say it again.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function isNew(part, value) {
  const text = JSON.stringify(value);
  if (shown[part] === text) return false;
  shown[part] = text;
  return true;
}

function count(value) {
  return value === null ? "–" : value.toLocaleString("en");
}

function short(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(value >= 100000 ? 0 : 1)}k`;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value ? 2 : 0);
}

function moment(seconds) {
  const at = new Date(seconds * 1000), two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// Where the page of a member is, as this browser reaches it: one that listens everywhere is on this page's host.
function pageOf(address) {
  const port = address.slice(address.lastIndexOf(":") + 1), host = address.slice(0, address.lastIndexOf(":"));
  const nowhere = ["0.0.0.0", "[::]", "::", ""].includes(host);
  return `${location.protocol}//${nowhere ? location.hostname : host}:${port}/`;
}

function linkTo(member, text) {
  const link = element("a", text);
  link.href = pageOf(member.kv_address);
  return link;
}

function showPlace(status) {
  const leader = status.members.find((each) => each.id === status.leader_id);
  setText(byId("node"), `node ${status.node_id}`);
  setText(byId("version"), `Version ${status.version}`);
  if (!isNew("place", [status.cluster_id, status.term, status.node_id, status.leader_id, leader?.kv_address])) return;
  const parts = [`Cluster ${status.cluster_id}, term ${status.term}, `];
  if (status.leader_id === "0") parts.push("no leader");
  else if (status.leader_id === status.node_id) parts.push("led by this node");
  else if (leader && leader.kv_address) parts.push("led by ", linkTo(leader, `node ${leader.id}`));
  else parts.push(`led by node ${status.leader_id}`);
  byId("where").replaceChildren(...parts);
}

function showAlarms(alarms) {
  const list = byId("alarms"), wanted = alarms.length ? alarms : ["None"];
  while (list.children.length > wanted.length) list.lastChild.remove();
  while (list.children.length < wanted.length) list.append(element("li"));
  wanted.forEach((text, at) => {
    setText(list.children[at], text);
    list.children[at].className = alarms.length ? "alarm" : "none";
  });
}

function makeRow(id) {
  const row = element("tr"), name = element("th");
  // Said outright, because a phone's layout takes what a table is from it.
  row.role = "row";
  row.dataset.node = id;
  name.scope = "row";
  name.role = "rowheader";
  name.dataset.label = "Node";
  row.append(name);
  return row;
}

function fillRow(row, member, ownId) {
  row.className = `${member.role === "leader" ? "leader" : ""} ${member.state === "ok" ? "" : "wrong"}`.trim();
  const isOwn = member.id === ownId, page = isOwn || !member.kv_address ? "" : pageOf(member.kv_address);
  if (row.dataset.page !== page) {
    row.dataset.page = page;
    row.firstChild.replaceChildren(page ? linkTo(member, member.id) : member.id);
    if (isOwn) row.firstChild.append(element("small", " this node"));
  }
  const rtt = member.round_trip_seconds;
  const cells = [
    ["Role", member.role, "role"],
    ["State", member.state, "state"],
    ["KV address", member.kv_address || "–", "address"],
    ["Raft address", member.raft_address || "–", "address"],
    ["Applied", count(member.applied_index), "number"],
    ["Committed", count(member.commit_index), "number"],
    ["Lag", count(member.lag), "number"],
    ["Round trip", rtt === null ? "–" : `${short(rtt * 1000)} ms`, "number"],
  ];
  cells.forEach(([label, text, className], at) => {
    if (!row.cells[at + 1]) {
      const cell = element("td", undefined, className);
      cell.role = "cell";
      cell.dataset.label = label;
      row.append(cell);
    }
    setText(row.cells[at + 1], text);
  });
}

function showMembers(status) {
  const body = byId("members"), rows = new Map([...body.rows].map((row) => [row.dataset.node, row]));
  const wanted = status.members.map((each) => rows.get(each.id) || makeRow(each.id));
  wanted.forEach((row, at) => fillRow(row, status.members[at], status.node_id));
  if (isNew("members", status.members.map((each) => each.id))) body.replaceChildren(...wanted);
}

// The least round number that is not below.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= value * 0.999);
}

function line(samples, which, top, now, seconds) {
  const x = (at) => (100 * (1 - (now - at) / seconds)).toFixed(2);
  let path = "", isDrawing = false;
  for (const sample of samples) {
    const value = sample[which];
    if (value === null) { isDrawing = false; continue; }
    path += `${isDrawing ? "L" : "M"}${x(sample[AT])} ${(98 - 96 * value / top).toFixed(2)}`;
    // One alone is a dot.
    if (!isDrawing) path += "h0.3";
    isDrawing = true;
  }
  return path;
}

function svgElement(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function drawPlot(figure, plot, samples, now, seconds) {
  const values = plot.series.flatMap(([, which]) => samples.map((each) => each[which]).filter((each) => each !== null));
  const top = roundUp(Math.max(...values, plot.unit === "ms" ? 1 : 10));
  const last = samples.at(-1) || [];
  const [caption, scale, svg, axis] = figure.children;
  const legend = plot.series.map(([name, which], at) => element("span", `${name} ${short(last[which])}`, CLASSES[at]));
  caption.lastChild.replaceChildren(...legend);
  figure.classList.toggle("empty", !values.length);
  setText(scale, top.toLocaleString("en"));
  setText(axis.firstChild, `${seconds / 60} min ago`);
  svg.setAttribute("aria-label", `${plot.title}, ${plot.unit}: now ${legend.map((each) => each.textContent).join(", ")}`);
  const grid = [2, 50, 98].map((y) => svgElement("path", { d: `M0 ${y}H100`, class: "grid" }));
  const lines = plot.series.map(([, which], at) =>
    svgElement("path", { d: line(samples, which, top, now, seconds), class: CLASSES[at] }));
  svg.replaceChildren(...grid, ...lines);
}

function makePlot(plot) {
  const figure = element("figure"), caption = element("figcaption");
  caption.append(element("b", plot.title), element("span", plot.unit, "unit"), element("span", "", "legend"));
  const svg = svgElement("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img" });
  const axis = element("div", undefined, "axis");
  axis.append(element("span"), element("span", "now"));
  figure.append(caption, element("div", undefined, "scale"), svg, axis);
  return figure;
}

function showPlots(status) {
  const plots = byId("plots");
  if (!plots.children.length) plots.append(...PLOTS.map(makePlot));
  // As far back as there is something, in whole minutes.
  const age = status.samples.length ? status.now - status.samples[0][AT] - status.sample_seconds : 0;
  const seconds = 60 * Math.min(Math.max(Math.ceil(age / 60), 1), PLOT_MINUTES);
  PLOTS.forEach((plot, at) => drawPlot(plots.children[at], plot, status.samples, status.now, seconds));
}

function showEvents(events) {
  if (!isNew("events", events)) return;
  const rows = events.map((event) => {
    const row = element("li"), time = element("time", moment(event.at));
    time.dateTime = new Date(event.at * 1000).toISOString();
    row.append(time, element("span", event.text));
    return row;
  });
  byId("events").replaceChildren(...(rows.length ? rows : [element("li", "None yet", "none")]));
}

function show(status) {
  // What it says may have another form by now.
  if (shownVersion !== null && status.version !== shownVersion) return location.reload();
  shownVersion = status.version;
  showPlace(status);
  showAlarms(status.alarms);
  showMembers(status);
  showPlots(status);
  showEvents(status.events);
  byId("main").hidden = false;
  showTitle(status.alarms.length > 0);
}

function showTitle(isWrong) {
  document.title = `Meteora ${byId("node").textContent}${isWrong ? " (!)" : ""}`;
}

// What was heard last stays, and is seen to be old.
function showLive(isHeard) {
  const lost = heardAt === null ? "does not answer" : `has not answered since ${moment(heardAt / 1000).slice(11)}`;
  byId("live").className = isHeard ? "" : "lost";
  byId("main").classList.toggle("old", !isHeard);
  setText(byId("live"), isHeard ? "Live" : `This node ${lost}; asking again`);
  if (!isHeard) showTitle(true);
}

async function heard() {
  try {
    const response = await fetch("/status.json", { cache: "no-store", signal: AbortSignal.timeout(GIVE_UP_MS) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

async function ask() {
  const status = await heard();
  if (status !== null) heardAt = Date.now();
  showLive(status !== null);
  if (status !== null) show(status);
}

// One question at a time, and none while nobody sees the page.
async function askForEver() {
  for (;;) {
    if (!document.hidden) await ask().catch(reportError);
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, ASK_EVERY_MS);
    });
  }
}

document.addEventListener("visibilitychange", () => wake());
askForEver();
