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
let heardAt = null;
let shownEvents = null;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function setText(id, text) {
  // Unchanged text is left alone, so that screen readers don't say it again.
  if (byId(id).textContent !== text) byId(id).textContent = text;
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
  setText("node", `node ${status.node_id}`);
  document.title = `Meteora node ${status.node_id}${status.alarms.length ? " (!)" : ""}`;
  const parts = [`Cluster ${status.cluster_id}, term ${status.term}, `];
  if (status.leader_id === "0") parts.push("no leader");
  else if (status.leader_id === status.node_id) parts.push("led by this node");
  else if (leader && leader.kv_address) parts.push("led by ", linkTo(leader, `node ${leader.id}`));
  else parts.push(`led by node ${status.leader_id}`);
  byId("where").replaceChildren(...parts);
  setText("version", `Version ${status.version}`);
}

function showAlarms(alarms) {
  const wanted = alarms.length ? alarms : ["None"];
  const list = byId("alarms");
  if (JSON.stringify([...list.children].map((each) => each.textContent)) === JSON.stringify(wanted)) return;
  list.replaceChildren(...wanted.map((text) => element("li", text, alarms.length ? "alarm" : "none")));
}

function memberRow(member, ownId) {
  const row = element("tr", undefined, member.role === "leader" ? "leader" : "");
  // Said outright, because a phone's layout takes what a table is from it.
  row.role = "row";
  row.dataset.node = member.id;
  if (member.state !== "ok") row.classList.add("wrong");
  const name = element("th");
  name.scope = "row";
  name.role = "rowheader";
  name.append(member.id === ownId || !member.kv_address ? member.id : linkTo(member, member.id));
  if (member.id === ownId) name.append(element("small", " this node"));
  const rtt = member.round_trip_seconds;
  const cells = [
    ["Role", member.role, "role"],
    ["State", member.state, "state"],
    ["KV address", member.kv_address || "–", ""],
    ["Raft address", member.raft_address || "–", ""],
    ["Applied", count(member.applied_index), "number"],
    ["Committed", count(member.commit_index), "number"],
    ["Lag", count(member.lag), "number"],
    ["Round trip", rtt === null ? "–" : `${short(rtt * 1000)} ms`, "number"],
  ];
  row.append(name);
  for (const [label, text, className] of cells) {
    const cell = element("td", text, className);
    cell.role = "cell";
    cell.dataset.label = label;
    row.append(cell);
  }
  return row;
}

function showMembers(status) {
  const focused = document.activeElement && document.activeElement.closest("#members tr");
  byId("members").replaceChildren(...status.members.map((each) => memberRow(each, status.node_id)));
  if (focused) byId("members").querySelector(`tr[data-node="${focused.dataset.node}"] a`)?.focus();
}

// The least of 1, 2 and 5 with zeros behind that is not below.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((each) => each * power >= value * 0.999);
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
  const [caption, svg] = figure.children;
  const legend = plot.series.map(([name, which], at) => element("span", `${name} ${short(last[which])}`, CLASSES[at]));
  caption.lastChild.replaceChildren(...legend);
  caption.children[1].textContent = `${plot.unit}, up to ${top.toLocaleString("en")}`;
  svg.setAttribute("aria-label", `${plot.title}, ${plot.unit}: now ${legend.map((each) => each.textContent).join(", ")}`);
  const grid = [2, 50, 98].map((y) => svgElement("path", { d: `M0 ${y}H100`, class: "grid" }));
  const lines = plot.series.map(([, which], at) =>
    svgElement("path", { d: line(samples, which, top, now, seconds), class: CLASSES[at] }));
  svg.replaceChildren(...grid, ...lines);
}

function makePlot(plot) {
  const figure = element("figure"), caption = element("figcaption");
  caption.append(element("b", plot.title), element("span", "", "unit"), element("span", "", "legend"));
  const svg = svgElement("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img" });
  const axis = element("div", undefined, "axis");
  axis.append(element("span", "5 min ago"), element("span", "now"));
  figure.append(caption, svg, axis);
  return figure;
}

function showPlots(status) {
  const plots = byId("plots");
  if (!plots.children.length) plots.append(...PLOTS.map(makePlot));
  PLOTS.forEach((plot, at) => drawPlot(plots.children[at], plot, status.samples, status.now, 300));
}

function showEvents(events) {
  // What is selected or scrolled to stays so while nothing is new.
  const shown = JSON.stringify(events);
  if (shownEvents === shown) return;
  shownEvents = shown;
  const rows = events.map((event) => {
    const row = element("li"), time = element("time", moment(event.at));
    time.dateTime = new Date(event.at * 1000).toISOString();
    row.append(time, element("span", event.text));
    return row;
  });
  byId("events").replaceChildren(...(rows.length ? rows : [element("li", "None yet", "none")]));
}

function show(status) {
  showPlace(status);
  showAlarms(status.alarms);
  showMembers(status);
  showPlots(status);
  showEvents(status.events);
  byId("main").hidden = false;
}

function showLive(isHeard) {
  const lost = heardAt === null ? "no answer" : `no answer since ${moment(heardAt / 1000).slice(11)}`;
  byId("live").className = isHeard ? "" : "lost";
  setText("live", isHeard ? "Live" : `This node gives ${lost}; asking again`);
}

async function ask() {
  try {
    const response = await fetch("/status.json", { cache: "no-store", signal: AbortSignal.timeout(GIVE_UP_MS) });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    show(await response.json());
    heardAt = Date.now();
    showLive(true);
  } catch {
    showLive(false);
  }
}

// One question at a time, and none while nobody sees the page.
async function askForEver() {
  for (;;) {
    if (!document.hidden) await ask();
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
askForEver();
