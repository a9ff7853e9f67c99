// Converts answers of the API to elements. Texts of accounts are used only as textContent and, if
// they are http(s) URLs, as href. They never become markup.

const numbers = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => numbers.format(n ?? 0);
export const brief = (n) => ((n ?? 0) < 10_000 ? numbers.format(n ?? 0) : short.format(n));

export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A link that opens in a new tab, or plain text if the address is not an http(s) URL. */
export function link(text, address) {
  let url = null;
  try { url = new URL(address); } catch { /* not a URL: shown as text */ }
  if (!url || !["http:", "https:"].includes(url.protocol)) return element("span", "", text);
  const made = element("a", "", text);
  made.href = url.href;
  made.target = "_blank";
  made.rel = "noopener noreferrer nofollow ugc";
  return made;
}

function entry(rank, what, value, share) {
  const bar = element("span", "bar");
  bar.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element("li", "", bar, element("span", "rank", String(rank)), what, element("span", "value", value));
}

export function fill(list, rows, empty) {
  list.replaceChildren(...(rows.length ? rows : [element("li", "empty", empty)]));
}

function speed(velocity) {
  if (velocity === null || velocity === undefined || velocity < 1.5) return "";
  return `, ${velocity.toFixed(1)}× as usual`;
}

export function trend(item, top, what) {
  const more = element("span", "more", `${count(item.authors)} ${item.authors === 1 ? "author" : "authors"}${speed(item.velocity)}`);
  return entry(item.rank, element("span", "what", what, more), brief(item.value), item.value / top);
}

export const hashtag = (item, top) => trend(item, top, link(`#${item.key}`, `https://bsky.app/hashtag/${encodeURIComponent(item.key)}`));

export function webLink(item, top) {
  const shown = link(item.key, item.key);
  shown.classList.add("one-line");
  return trend(item, top, shown);
}

/** The name and the handle of an account: from its profile, otherwise its DID. */
function names(account) {
  const profile = account?.profile;
  const handle = profile?.handle ? `@${profile.handle}` : account?.did ?? "unknown account";
  return { name: profile?.name || handle, handle };
}

/** A letter instead of the picture: pictures are on other hosts, from which this page loads nothing. */
function badge(account) {
  const { name } = names(account);
  const letter = account?.profile ? [...name.replace(/^@/, "")][0] ?? "?" : "?";
  const made = element("span", "badge", letter.toUpperCase());
  made.setAttribute("aria-hidden", "true");
  const hue = [...(account?.did ?? "")].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  made.style.setProperty("--hue", String(hue));
  return made;
}

// The `%` of a did:web with a port is encoded, because a browser would decode it.
const profileUrl = (account) => `https://bsky.app/profile/${(account?.did ?? "").replaceAll("%", "%25")}`;

export function actor(item, top) {
  const { name, handle } = names(item.account);
  const more = name === handle ? null : element("span", "more one-line", handle);
  const text = element("span", "who", link(name, profileUrl(item.account)), more);
  const what = element("span", "what with-badge", badge(item.account), text);
  return entry(item.rank, what, brief(item.value), item.value / top);
}

function byline(account) {
  const { name, handle } = names(account);
  const more = name === handle ? null : element("span", "quiet", ` ${handle}`);
  return element("span", "one-line", link(name, profileUrl(account)), more);
}

export function post(item, top) {
  const tally = item.post;
  const parts = [["likes", tally.likes], ["reposts", tally.reposts], ["replies", tally.replies], ["quotes", tally.quotes]];
  const tallies = element("span", "more tallies", ...parts.map(([word, n]) => element("span", "", `${count(n)} ${word}`)));
  const uri = element("span", "more one-line", link(item.key, item.url));
  const text = element("span", "who", byline(item.account), uri, tallies);
  const what = element("span", "what with-badge", badge(item.account), text);
  return entry(item.rank, what, brief(item.value), item.value / top);
}

export function language(item, rank, top) {
  const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });
  let word = item.lang === "und" || item.lang === "" ? "not named" : item.lang;
  try { if (word !== "not named") word = `${names.of(item.lang)} (${item.lang})`; } catch { /* not a language tag: shown as written */ }
  return entry(rank, element("span", "what", word), brief(item.count), item.count / top);
}

export const drop = ([reason, n], rank, top) => entry(rank, element("span", "what", reason), count(n), n / top);

export function collection(item, seconds) {
  const head = element("th", "", item.collection || "all together");
  head.scope = "row";
  const second = (item.last_2m.operations / Math.max(1, seconds)).toFixed(1);
  const cells = [second, count(item.last_hour.operations), count(item.last_24h.operations), count(item.all.operations), count(item.all.live)];
  return element("tr", "", head, ...cells.map((text) => element("td", "", text)));
}

export function part(item) {
  const made = element("li", item.ok ? "" : "bad", `${item.name}: ${item.detail}`);
  made.title = item.ok ? "working" : "not working";
  return made;
}

/** One job in a few words; its title has the report of the last run. */
export function job(item, now) {
  const ago = item.last ? Math.max(0, Math.round((now - Date.parse(item.last.ended)) / 1_000)) : null;
  const when = ago === null ? "has not run" : ago < 120 ? `${ago} s ago` : ago < 7_200 ? `${Math.round(ago / 60)} min ago` : `${Math.round(ago / 3_600)} h ago`;
  const state = item.running_since ? "runs" : item.last && !item.last.ok ? `failed ${when}` : when;
  const made = element("span", item.last && !item.last.ok ? "bad" : "", `${item.name}: ${state}`);
  made.title = `${item.last?.report ?? "no run has ended"}; due ${item.due ?? "never"}`;
  return made;
}

/** Bars of operations per minute; the last minute is still open. */
export function spark(svg, points) {
  const top = Math.max(1, ...points.map((point) => point.operations));
  const step = 600 / Math.max(1, points.length);
  svg.replaceChildren(...points.map((point, place) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = (point.operations / top) * 58;
    const sizes = { x: place * step + 1, y: 60 - height, width: Math.max(1, step - 2), height };
    for (const [key, value] of Object.entries(sizes)) bar.setAttribute(key, value.toFixed(2));
    if (place === points.length - 1) bar.setAttribute("class", "open");
    return bar;
  }));
  return top;
}
