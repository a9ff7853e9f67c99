// Opens /v1/stream. The events are read by fetch: EventSource cannot send a key, and does not show
// why it was refused.
//
// `on` has a handler for each event, `commit` and `waiting`; `lost`, which is called when the
// connection ends; and `refused`, which is called instead if the server answers with an error: with
// the status, the body, and the seconds of Retry-After. The caller opens the stream again.

export function openStream(url, key, on) {
  const abort = new AbortController();
  const ended = () => { if (!abort.signal.aborted) on.lost(); };
  read(url, key, on, abort.signal).then((isRefused) => { if (!isRefused) ended(); }, ended);
  return { close: () => abort.abort() };
}

/** The seconds of Retry-After; 0: there is none. */
export function retryAfter(answer) {
  return Number(answer.headers.get("Retry-After")) || 0;
}

/** Reads events until the stream ends. Returns whether the server refused the request. */
async function read(url, key, on, signal) {
  const answer = await fetch(url, { headers: key ? { "X-API-Key": key } : {}, signal });
  if (!answer.ok) {
    const body = await answer.json();
    if (!signal.aborted) on.refused(answer.status, body, retryAfter(answer));
    return true;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return false;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) dispatch(block.split("\n"), on);
  }
}

function dispatch(lines, on) {
  const field = (name) => lines
    .filter((line) => line.startsWith(`${name}:`))
    .map((line) => line.slice(name.length + 1).replace(/^ /, ""))
    .join("\n");
  const event = field("event");
  if (event === "commit" || event === "waiting") on[event](JSON.parse(field("data")));
}
