// Opens /v1/stream. EventSource cannot send headers, so with a key the events are read by fetch.
//
// `on` has a handler for each event, `commit` and `waiting`, and `lost`, which is called when the
// connection ends; its argument says whether the caller has to open the stream again.

export function openStream(url, key, on) {
  return key ? fetchStream(url, key, on) : eventSource(url, on);
}

function eventSource(url, on) {
  const source = new EventSource(url);
  source.addEventListener("commit", (event) => on.commit(JSON.parse(event.data)));
  source.addEventListener("waiting", (event) => on.waiting(JSON.parse(event.data)));
  // A browser does not reconnect a stream that was refused.
  source.addEventListener("error", () => on.lost(source.readyState === EventSource.CLOSED));
  return source;
}

function fetchStream(url, key, on) {
  const abort = new AbortController();
  const ended = () => { if (!abort.signal.aborted) on.lost(true); };
  read(url, key, on, abort.signal).then(ended, ended);
  return { close: () => abort.abort() };
}

async function read(url, key, on, signal) {
  const answer = await fetch(url, { headers: { "X-API-Key": key }, signal });
  if (!answer.ok) throw new Error(answer.statusText);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
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
