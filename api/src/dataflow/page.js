// The page of the dataflow. It requests /v1/dataflow every two seconds, and pauses while nobody
// sees it. Rates, shares and the cause of a wait come from the server, so this page and
// `skytide top` show the same.

import { element } from "../rows.js";
import { bytes, count, duration, idOf, percent, rate } from "./format.js";
import { Graph, scopes } from "./graph.js";
import { operatorTable, stateRows, stateTable } from "./tables.js";

const PAUSE_MS = 2_000;
const FAILED_PAUSE_MS = 4_000;
const KEY = "skytide-key";

// What a worker does with its time; the order is that of the bar.
const TIMES = [
  ["busy", "runs operators"],
  ["step", "steps outside of operators"],
  ["feed", "feeds batches"],
  ["consolidate", "consolidates rows"],
  ["cut", "makes checkpoints"],
  ["other", "something else"],
  ["parked", "waits for other workers"],
  ["commit_wait", "waits for the view store"],
  ["batch_wait", "waits for the next batch"],
];
const WORDS = { store: "Store", worker: "Worker", checkpoint: "Checkpoint", operator: "Operator", growth: "Growth", idle: "Keeps up", mixed: "No cause" };

const byId = (id) => document.getElementById(id);
let key = sessionStorage.getItem(KEY);
let keyIsMissing = false;
let isPaused = false;
let answer = null;
let received = 0;
let selected = null;
let scope = null;
let scopeIsChosen = false;
let timer = null;

const graph = new Graph(byId("graph"), select, openScope);
const operators = operatorTable(byId("operator-table"), (id) => { select(id); graph.reveal(id); });
const state = stateTable(byId("state-table"));

function notice(text) {
  byId("notice").hidden = !text;
  if (byId("notice").textContent !== (text ?? "")) byId("notice").textContent = text ?? "";
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

async function read() {
  clearTimeout(timer);
  let pause = PAUSE_MS;
  try {
    if (!keyIsMissing && !isPaused && !document.hidden) pause = await request();
  } catch (error) {
    notice(`The server does not answer: ${error.message}. The page shows old numbers and tries again.`);
    pause = FAILED_PAUSE_MS;
  }
  clearTimeout(timer);
  timer = setTimeout(read, pause);
}

/** Requests the numbers once. Returns how long to wait until the next request, in milliseconds. */
async function request() {
  const used = key;
  const response = await fetch("/v1/dataflow", { headers: key ? { "X-API-Key": key } : {}, cache: "no-store" });
  const body = await response.json();
  if (response.ok) {
    notice(null);
    answer = body;
    received = Date.now();
    show();
    return PAUSE_MS;
  }
  if (response.status === 401 || body.code === "scope_missing") {
    if (used === key) askForKey(body.detail);
  } else {
    notice(sentence(body.detail));
  }
  return Math.max(FAILED_PAUSE_MS, (Number(response.headers.get("Retry-After")) || 0) * 1_000);
}

function askForKey(detail) {
  keyIsMissing = true;
  key = null;
  sessionStorage.removeItem(KEY);
  byId("key-form").hidden = false;
  notice(sentence(detail));
}

function useKey(event) {
  event.preventDefault();
  key = byId("key").value.trim() || null;
  byId("key").value = "";
  if (!key) return;
  sessionStorage.setItem(KEY, key);
  keyIsMissing = false;
  byId("key-form").hidden = true;
  notice(null);
  read();
}

function show() {
  showFindings();
  showProgress();
  showWorkers();
  showScopes();
  showGraph();
  showOperators();
  showDetails();
  showState();
  const { seconds, is_whole_run: isWhole } = answer.recent;
  setText("interval", isWhole ? `Rates since the start, ${duration(seconds * 1_000)} ago` : `Rates over the last ${duration(seconds * 1_000)}`);
  showAge();
}

const causes = () => new Set(answer.findings.filter((it) => it.operator).map((it) => idOf(it.operator)));

/** What the pipeline waits for, if the server knows it, then what holds the dataflow up. */
function showFindings() {
  const waits = answer.waits_for;
  const first = waits?.word && waits.word !== "nothing" ? [{ kind: "waits", word: waits.word, sentence: waits.detail ? `${waits.sentence} (${waits.detail})` : waits.sentence }] : [];
  const all = [...first, ...answer.findings];
  const shown = all.map((it) => `${it.kind} ${it.sentence}`).join("\n");
  if (byId("findings").dataset.shown === shown) return;
  byId("findings").dataset.shown = shown;
  byId("findings").replaceChildren(...all.map((it, at) => {
    const isCause = !["idle", "mixed", "growth"].includes(it.kind);
    const made = element("p", `finding ${isCause ? "cause" : it.kind}${at === 0 ? " first" : ""}`, element("b", "", `${it.word ? `Waits for: ${it.word}` : WORDS[it.kind] ?? it.kind}:`), it.kind === "waits" ? sentence(it.sentence) : it.sentence);
    if (it.operator) {
      const button = element("button", "", "Show");
      button.type = "button";
      button.addEventListener("click", () => { select(idOf(it.operator)); graph.reveal(selected); });
      made.append(button);
    }
    return made;
  }));
}

function showProgress() {
  const { progress, memory } = answer;
  if (progress) {
    const { recent } = progress;
    setText("events", count(recent.events_per_second));
    setText("rows", count(recent.rows_per_second));
    setText("commits", recent.commits_per_second.toFixed(1));
    setText("committing", percent(recent.commit_share));
    setText("pending", count(progress.batches_pending));
    setText("lag", progress.lag_ms === null ? "–" : duration(progress.lag_ms));
    setText("epoch", progress.epoch.toLocaleString("en-US"));
  }
  byId("memory-card").hidden = !memory?.resident_bytes;
  if (memory?.resident_bytes) setText("memory", `${bytes(memory.resident_bytes)}, ${percent(memory.accounted_bytes / memory.resident_bytes)}`);
}

function showWorkers() {
  const culprits = new Set(answer.findings.map((it) => it.worker).filter((n) => n !== null));
  byId("workers").replaceChildren(...answer.workers.map((worker) => {
    const { recent } = worker;
    const bars = TIMES.map(([name]) => {
      const part = element("i", `t-${name}`);
      part.style.width = `${recent[name] * 100}%`;
      return part;
    });
    const words = TIMES.filter(([name]) => recent[name] >= 0.005)
      .sort((a, b) => recent[b[0]] - recent[a[0]])
      .map(([name, text]) => `${text} ${percent(recent[name])}`);
    const times = element("div", "times", ...bars);
    times.setAttribute("aria-hidden", "true");
    const isCause = culprits.has(worker.worker);
    const name = element("span", "name", `${isCause ? "▲ " : ""}Worker ${worker.worker}`);
    return element("div", isCause ? "worker cause" : "worker", name, times, element("span", "words", words.join(", ")));
  }));
}

function showScopes() {
  const all = scopes(answer);
  if (!scopeIsChosen || !all.some((it) => it.id === scope)) scope = all[0]?.id ?? null;
  byId("scope-label").hidden = all.length < 2;
  const options = all.map((it) => `${it.name} (${it.operators} operators)`);
  const select = byId("scope");
  if ([...select.options].map((it) => it.textContent).join() !== options.join()) {
    select.replaceChildren(...all.map((it, at) => Object.assign(element("option", "", options[at]), { value: it.id })));
  }
  select.value = scope;
}

function openScope(id) {
  if (!answer.operators.some((it) => it.is_scope && idOf(it.address) === id)) return;
  scope = id;
  scopeIsChosen = true;
  show();
}

function showGraph() {
  if (scope === null) return;
  const { operators: number, edges, hidden } = graph.show(answer, scope.split(".").map(Number), selected, causes());
  setText("graph-note", `${number} operators, ${edges} channels${hidden ? `, ${hidden} with few records are hidden` : ""}`);
}

function showOperators() {
  const total = answer.operators.reduce((sum, it) => sum + it.recent.share, 0);
  const word = byId("search").value.trim().toLowerCase();
  const all = answer.operators.map((it) => ({ ...it, ofBusy: total > 0 ? it.recent.share / total : 0 }));
  const found = all.filter((it) => it.name.toLowerCase().includes(word));
  setText("matches", `${found.length} of ${all.length}`);
  const marked = causes();
  operators.show(found, (id) => [id === selected && "selected", marked.has(id) && "cause"].filter(Boolean).join(" "));
}

function select(id) {
  selected = id === selected ? null : id;
  if (!answer) return;
  const operator = answer.operators.find((it) => idOf(it.address) === selected);
  const around = operator && idOf(operator.address.slice(0, -1));
  if (around && around !== scope && scopes(answer).some((it) => it.id === around)) {
    scope = around;
    scopeIsChosen = true;
  }
  show();
}

function showDetails() {
  const operator = answer.operators.find((it) => idOf(it.address) === selected);
  if (!operator) return;
  const names = new Map(answer.operators.map((it) => [idOf(it.address), it.name]));
  const end = (address) => {
    const name = names.get(idOf(address)) ?? "the scope";
    const button = element("button", "as-link", name);
    button.type = "button";
    button.addEventListener("click", () => { select(idOf(address)); graph.reveal(selected); });
    return button;
  };
  const list = (title, items) => element("div", "", element("h4", "", title), element("ul", "", ...(items.length ? items : [element("li", "", "none")])));
  const channels = (from, to) => answer.channels.filter((it) => idOf(it[from]) === selected)
    .sort((a, b) => b.records_per_second - a.records_per_second)
    .map((it) => element("li", "", end(it[to]), ` ${rate(it.records_per_second)}, ${count(it.records)} since the start`));
  const { recent, arrangement } = operator;
  const workers = recent.share_by_worker.map((share, at) => element("li", "", `worker ${answer.workers[at]?.worker}: ${percent(share)} of its time`));
  const shown = [
    element("h3", "", operator.name),
    element("p", "", `${percent(recent.share)} of the time of all workers, scheduled ${rate(recent.activations_per_second)}; ${rate(recent.input_records_per_second)} in, ${rate(recent.output_records_per_second)} out. ${duration(operator.busy_seconds * 1_000)} since the start.`),
  ];
  if (arrangement) shown.push(element("p", "", `Its arrangement has ${count(arrangement.records)} updates in ${count(arrangement.batches)} batches; ${count(arrangement.pending_records)} are not in a batch yet.`));
  shown.push(element("div", "lists", list("Receives from", channels("target", "source")), list("Sends to", channels("source", "target")), list("By worker", workers)));
  const focused = document.activeElement?.closest?.("#details") ? [...byId("details").querySelectorAll("button")].indexOf(document.activeElement) : -1;
  byId("details").replaceChildren(...shown);
  byId("details").querySelectorAll("button")[focused]?.focus();
}

function showState() {
  byId("state-section").hidden = !answer.state?.length;
  if (!answer.state?.length) return;
  const grows = new Set(answer.findings.map((it) => it.state).filter(Boolean));
  state.show(stateRows(answer.state), (name) => (grows.has(name) ? "cause" : ""));
  const { memory } = answer;
  if (memory) setText("memory-note", `The process holds ${bytes(memory.resident_bytes)}${memory.limit_bytes ? ` of ${bytes(memory.limit_bytes)}, from 80 % of which live records move to disk` : ""}. Its structures account for ${bytes(memory.accounted_bytes)}, the rest is ${bytes(memory.unaccounted_bytes)}.`);
}

function showAge() {
  if (!answer) return;
  const seconds = Math.round((Date.now() - received) / 1_000);
  setText("age", isPaused ? `Paused ${seconds} s ago` : seconds > 5 ? `${seconds} s old` : "Live");
}

function pause() {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  byId("pause").textContent = isPaused ? "Continue" : "Pause";
  showAge();
  if (!isPaused) read();
}

byId("legend").replaceChildren(...TIMES.map(([name, text]) => element("li", "", element("i", `t-${name}`), text)));
byId("key-form").addEventListener("submit", useKey);
byId("pause").addEventListener("click", pause);
byId("search").addEventListener("input", () => { if (answer) showOperators(); });
byId("scope").addEventListener("change", () => { scope = byId("scope").value; scopeIsChosen = true; show(); });
byId("clocks").addEventListener("change", () => { graph.showsFew = byId("clocks").checked; if (answer) showGraph(); });
byId("zoom-in").addEventListener("click", () => graph.zoom(1.3));
byId("zoom-out").addEventListener("click", () => graph.zoom(1 / 1.3));
byId("zoom-fit").addEventListener("click", () => { if (answer) graph.fit(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) read(); });
setInterval(showAge, 1_000);
read();
