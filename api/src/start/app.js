// The start page: pushes of /v1/stream for lists and rates, /v1/network every few seconds for the rest.

import * as rows from "./rows.js";

const NETWORK_PAUSE_MS = 5_000;
const JOBS_PAUSE_MS = 15_000;
const LISTS = { posts: rows.post, hashtags: rows.hashtag, links: rows.webLink, actors: rows.actor };

const at = (id) => document.getElementById(id);
const choice = { window: at("window"), lang: at("lang") };
let stream = null;
let newest = null;
let lost = null;

function notice(text) {
  at("notice").hidden = !text;
  if (at("notice").textContent !== (text ?? "")) at("notice").textContent = text ?? "";
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
  newest = { ...answer, received: Date.now() };
  at("epoch").textContent = `Epoch ${rows.count(answer.epoch)}, as of ${clock(answer.as_of)}`;
  at("coverage").textContent = `Counting since ${clock(answer.since)}. Nothing from before is known.`;
  showAge();
}

/** The age on arrival and the time since then. */
function showAge() {
  if (newest) at("lag").textContent = duration(newest.freshness_ms + Date.now() - newest.received);
}

function showCommit(commit) {
  notice(null);
  showMeta(commit);
  at("rate").textContent = rows.count(commit.rates.operations_per_second);
  for (const [name, row] of Object.entries(LISTS)) {
    const list = commit.lists[name];
    const top = Math.max(1, ...list.entries.map((item) => item.value));
    const empty = choice.lang.value ? "Nothing in this language yet." : "Nothing counted in this window yet.";
    rows.fill(at(name), list.entries.map((item) => row(item, top)), empty);
  }
  const shown = commit.lists.hashtags.window;
  at("filled").textContent = shown.filled ? "" : `This window is not filled yet: it counts from ${clock(shown.from)}.`;
}

function showWaiting(ready) {
  newest = null;
  const parts = ready.parts.filter((item) => !item.ok).map((item) => `${item.name}: ${item.detail}`);
  const text = [...ready.reasons, ...parts].join("; ");
  notice(`${text.charAt(0).toUpperCase()}${text.slice(1)}.`);
  at("parts").replaceChildren(...ready.parts.map(rows.part));
  for (const name of [...Object.keys(LISTS), "languages", "drops"]) {
    rows.fill(at(name), [], "Waiting for the first events of the relay.");
  }
}

function showNetwork(network) {
  const total = network.total;
  at("ops-hour").textContent = rows.brief(total.last_hour.operations);
  at("live").textContent = rows.brief(total.all.live);
  const whole = network.hours.at(-2);
  at("accounts-hour").textContent = whole ? rows.brief(whole.accounts) : "–";
  const top = rows.spark(at("spark"), network.minutes);
  at("spark-caption").textContent = `Operations a minute, last hour; highest ${rows.count(top)}, the last bar is the open minute`;
  at("parts").replaceChildren(...network.parts.map(rows.part));
  const seconds = network.rates.over_seconds;
  at("collections").replaceChildren(...[...network.collections, total].map((item) => rows.collection(item, seconds)));
  showLanguages(network.languages.entries);
  const drops = Object.entries(network.drops).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...drops.map(([, n]) => n));
  rows.fill(at("drops"), drops.map((item, place) => rows.drop(item, place + 1, most)), "Nothing was dropped.");
}

function showLanguages(languages) {
  const top = Math.max(1, ...languages.map((item) => item.count));
  rows.fill(at("languages"), languages.slice(0, 10).map((item, place) => rows.language(item, place + 1, top)), "No posts in this window yet.");
  const tags = [...new Set(languages.map((item) => item.lang.toLowerCase().split("-")[0]))].filter((tag) => /^[a-z]{2,8}$/.test(tag));
  if (document.activeElement === choice.lang) return;
  const chosen = choice.lang.value;
  if (chosen && !tags.includes(chosen)) tags.push(chosen);
  const option = (value, text) => Object.assign(rows.element("option", "", text), { value });
  choice.lang.replaceChildren(option("", "all"), ...tags.sort().map((tag) => option(tag, tag === "und" ? "not named" : tag)));
  choice.lang.value = chosen;
}

async function readNetwork() {
  try {
    const answer = await fetch(`/v1/network?window=${encodeURIComponent(choice.window.value)}`);
    const body = await answer.json();
    if (answer.ok) showNetwork(body);
    else if (body.code !== "nothing_counted_yet") notice(`The network page failed: ${body.detail}`);
  } catch (error) {
    notice(`The server does not answer: ${error.message}`);
  }
  setTimeout(readNetwork, NETWORK_PAUSE_MS);
}

/** A line that nobody needs: what fails here is left out. */
async function readJobs() {
  try {
    const answer = await fetch("/v1/jobs");
    const body = await answer.json();
    const jobs = answer.ok ? body.jobs : [];
    at("jobs").hidden = jobs.length === 0;
    at("jobs").replaceChildren("Jobs:", ...jobs.map((item) => rows.job(item, Date.parse(body.now))));
  } catch {
    at("jobs").hidden = true;
  }
  setTimeout(readJobs, JOBS_PAUSE_MS);
}

function listen() {
  stream?.close();
  clearTimeout(lost);
  const query = new URLSearchParams({ lists: Object.keys(LISTS).join(","), window: choice.window.value, lang: choice.lang.value });
  stream = new EventSource(`/v1/stream?${query}`);
  stream.addEventListener("commit", (event) => showCommit(JSON.parse(event.data)));
  stream.addEventListener("waiting", (event) => showWaiting(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    notice("The connection is lost; trying again. What is shown is old.");
    // A refused stream is not tried again by the browser.
    if (stream.readyState === EventSource.CLOSED) lost = setTimeout(listen, 3_000);
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
at("choice").addEventListener("submit", (event) => event.preventDefault());
listen();
readNetwork();
readJobs();
setInterval(showAge, 1_000);
