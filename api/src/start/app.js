// The start page. Lists and rates come from the events of /v1/stream; the rest comes from
// /v1/network, which is requested every few seconds, or every 5 minutes if it has no answer because
// activity is not computed.

import * as rows from "./rows.js";
import { openStream, retryAfter } from "./stream.js";

const NETWORK_PAUSE_MS = 5_000;
// A view is added only with a restart of the dataflow, so a missing one is rarely asked for again.
const NETWORK_MISSING_PAUSE_MS = 300_000;
const JOBS_PAUSE_MS = 15_000;
const RECONNECT_PAUSE_MS = 3_000;
const NOT_COMPUTED = "This view is not computed (INDEXER_VIEWS).";
const LISTS = { posts: rows.post, hashtags: rows.hashtag, links: rows.webLink, actors: rows.actor };

const byId = (id) => document.getElementById(id);
const choice = { window: byId("window"), lang: byId("lang") };
let stream = null;
let lastAnswer = null;
let reconnectTimer = null;
// The key stays in this tab. Without one, the page uses what the server lets everybody read.
const KEY = "skytide-key";
let key = sessionStorage.getItem(KEY);
let keyIsMissing = false;
// When to ask /v1/network again, by performance.now(), after it answered that activity is missing.
let networkDueMs = 0;

function notice(text) {
  byId("notice").hidden = !text;
  if (byId("notice").textContent !== (text ?? "")) byId("notice").textContent = text ?? "";
}

const wantsKey = (status, body) => status === 401 || body.code === "scope_missing";

/** Requests JSON. Asks for a key if the server wants one. */
async function ask(path) {
  const used = key;
  const answer = await fetch(path, { headers: key ? { "X-API-Key": key } : {} });
  const body = await answer.json();
  // The answer may be about a key that was replaced in the meantime.
  if (wantsKey(answer.status, body) && used === key) askForKey(body.detail);
  return { ok: answer.ok, body, pauseMs: retryAfter(answer) * 1_000 };
}

function askForKey(detail) {
  keyIsMissing = true;
  key = null;
  sessionStorage.removeItem(KEY);
  stream?.close();
  clearTimeout(reconnectTimer);
  byId("key-form").hidden = false;
  notice(`${detail.charAt(0).toUpperCase()}${detail.slice(1)}.`);
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
  listen();
}

function duration(ms) {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} days`;
}

const clock = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

function showMeta(answer) {
  lastAnswer = { ...answer, received: Date.now() };
  byId("epoch").textContent = `Epoch ${rows.count(answer.epoch)}, as of ${clock(answer.as_of)}`;
  byId("coverage").textContent = `Counting since ${clock(answer.since)}. Nothing from before is known.`;
  showAge();
}

/** Shows the age of the last answer: its age on arrival plus the time since then. */
function showAge() {
  if (lastAnswer) byId("lag").textContent = duration(lastAnswer.freshness_ms + Date.now() - lastAnswer.received);
}

function showCommit(commit) {
  notice(null);
  showMeta(commit);
  // Rates and lists whose views are not computed (INDEXER_VIEWS) are absent.
  byId("rate").textContent = commit.rates ? rows.count(commit.rates.operations_per_second) : "–";
  for (const [name, row] of Object.entries(LISTS)) {
    const list = commit.lists[name];
    if (!list) { rows.fill(byId(name), [], NOT_COMPUTED); continue; }
    const top = Math.max(1, ...list.entries.map((item) => item.value));
    const empty = choice.lang.value ? "Nothing in this language yet." : "Nothing counted in this window yet.";
    rows.fill(byId(name), list.entries.map((item) => row(item, top)), empty);
  }
  const shown = Object.values(commit.lists)[0]?.window;
  byId("filled").textContent = !shown || shown.filled ? "" : `This window is not filled yet: it counts from ${clock(shown.from)}.`;
}

/** Shows what the pipeline waits for, if it waits. */
function showWait(wait) {
  const line = byId("waits");
  const text = wait.word === "nothing" ? "" : `Waits for ${wait.word}: ${wait.sentence}.`;
  line.hidden = text === "";
  if (line.textContent !== text) line.textContent = text;
}

function showWaiting(ready) {
  lastAnswer = null;
  showWait(ready.waits_for);
  const parts = ready.parts.filter((item) => !item.ok).map((item) => `${item.name}: ${item.detail}`);
  const text = [...ready.reasons, ...parts].join("; ");
  notice(`${text.charAt(0).toUpperCase()}${text.slice(1)}.`);
  byId("parts").replaceChildren(...ready.parts.map(rows.part));
  for (const name of [...Object.keys(LISTS), "languages", "drops"]) {
    rows.fill(byId(name), [], "Waiting for the first events of the relay.");
  }
}

/** Shows the parts and the wait while /v1/network has no answer, because activity is not computed. */
async function showWithoutActivity() {
  const { body } = await ask("/readyz");
  if (!body.waits_for) return;
  showWait(body.waits_for);
  byId("parts").replaceChildren(...body.parts.map(rows.part));
  for (const id of ["ops-hour", "live", "accounts-hour"]) byId(id).textContent = "–";
  byId("spark-caption").textContent = NOT_COMPUTED;
  for (const name of ["languages", "drops"]) rows.fill(byId(name), [], "Not shown without the view activity (INDEXER_VIEWS).");
}

function showNetwork(network) {
  const total = network.total;
  showWait(network.waits_for);
  byId("ops-hour").textContent = rows.brief(total.last_hour.operations);
  byId("live").textContent = rows.brief(total.all.live);
  const whole = network.hours.at(-2);
  byId("accounts-hour").textContent = whole ? rows.brief(whole.accounts) : "–";
  const top = rows.spark(byId("spark"), network.minutes);
  byId("spark-caption").textContent = `Operations a minute, last hour; highest ${rows.count(top)}, the last bar is the open minute`;
  byId("parts").replaceChildren(...network.parts.map(rows.part));
  const seconds = network.rates.over_seconds;
  byId("collections").replaceChildren(...[...network.collections, total].map((item) => rows.collection(item, seconds)));
  const missing = network.not_computed ?? [];
  showLanguages(network.languages.entries, missing.includes("languages"));
  const drops = Object.entries(network.drops).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...drops.map(([, n]) => n));
  rows.fill(byId("drops"), drops.map((item, place) => rows.drop(item, place + 1, most)), missing.includes("counters") ? NOT_COMPUTED : "Nothing was dropped.");
}

function showLanguages(languages, isMissing) {
  const top = Math.max(1, ...languages.map((item) => item.count));
  rows.fill(byId("languages"), languages.slice(0, 10).map((item, place) => rows.language(item, place + 1, top)), isMissing ? NOT_COMPUTED : "No posts in this window yet.");
  const tags = [...new Set(languages.map((item) => item.lang.toLowerCase().split("-")[0]))].filter((tag) => /^[a-z]{2,8}$/.test(tag));
  if (document.activeElement === choice.lang) return;
  const chosen = choice.lang.value;
  if (chosen && !tags.includes(chosen)) tags.push(chosen);
  const option = (value, text) => Object.assign(rows.element("option", "", text), { value });
  choice.lang.replaceChildren(option("", "all"), ...tags.sort().map((tag) => option(tag, tag === "und" ? "not named" : tag)));
  choice.lang.value = chosen;
}

async function readNetwork() {
  let pause = NETWORK_PAUSE_MS;
  try {
    if (!keyIsMissing && performance.now() < networkDueMs) {
      await showWithoutActivity();
    } else if (!keyIsMissing) {
      const { ok, body, pauseMs } = await ask(`/v1/network?window=${encodeURIComponent(choice.window.value)}`);
      pause = Math.max(pause, pauseMs);
      if (ok) showNetwork(body);
      else if (body.code === "view_missing") {
        networkDueMs = performance.now() + NETWORK_MISSING_PAUSE_MS;
        await showWithoutActivity();
      } else if (!keyIsMissing && body.code !== "nothing_counted_yet") notice(`The network page failed: ${body.detail}`);
    }
  } catch (error) {
    notice(`The server does not answer: ${error.message}`);
  }
  setTimeout(readNetwork, pause);
}

/** Shows the jobs in the footer. They are optional: if the request fails, the line is hidden. */
async function readJobs() {
  let pause = JOBS_PAUSE_MS;
  try {
    const { ok, body, pauseMs } = keyIsMissing ? { ok: false, pauseMs: 0 } : await ask("/v1/jobs");
    pause = Math.max(pause, pauseMs);
    const jobs = ok ? body.jobs : [];
    byId("jobs").hidden = jobs.length === 0;
    byId("jobs").replaceChildren("Jobs:", ...jobs.map((item) => rows.job(item, Date.parse(body.now))));
  } catch {
    byId("jobs").hidden = true;
  }
  setTimeout(readJobs, pause);
}

function listen() {
  stream?.close();
  clearTimeout(reconnectTimer);
  if (keyIsMissing) return;
  const query = new URLSearchParams({ lists: Object.keys(LISTS).join(","), window: choice.window.value, lang: choice.lang.value });
  stream = openStream(`/v1/stream?${query}`, key, {
    commit: showCommit,
    waiting: showWaiting,
    lost: () => {
      if (keyIsMissing) return;
      notice("The connection is lost; reconnecting. The page shows old data.");
      reconnectTimer = setTimeout(listen, RECONNECT_PAUSE_MS);
    },
    refused: (status, body, seconds) => {
      if (keyIsMissing) return;
      if (wantsKey(status, body)) { askForKey(body.detail); return; }
      notice(`The stream is refused: ${body.detail}`);
      reconnectTimer = setTimeout(listen, Math.max(RECONNECT_PAUSE_MS, seconds * 1_000));
    },
  });
}

function choose() {
  const query = new URLSearchParams([["window", choice.window.value], ["lang", choice.lang.value]].filter(([, value]) => value));
  history.replaceState(null, "", `?${query}`);
  listen();
}

function restore() {
  const asked = new URLSearchParams(location.search);
  const window = asked.get("window");
  if ([...choice.window.options].some((option) => option.value === window)) choice.window.value = window;
  const lang = asked.get("lang") ?? "";
  if (/^[a-z]{2,8}$/.test(lang)) {
    choice.lang.append(Object.assign(rows.element("option", "", lang), { value: lang }));
    choice.lang.value = lang;
  }
}

restore();
choice.window.addEventListener("change", choose);
choice.lang.addEventListener("change", choose);
byId("choice").addEventListener("submit", (event) => event.preventDefault());
byId("key-form").addEventListener("submit", useKey);
listen();
readNetwork();
readJobs();
setInterval(showAge, 1_000);
