// Tests of what the start page requests.
//
//   node --test tests/pages/*.test.mjs

import assert from "node:assert/strict";
import test from "node:test";

/** An element that accepts every call and has every property. */
function element() {
  const known = { options: [], value: "", textContent: "", hidden: false, dataset: {}, style: {} };
  return new Proxy(known, {
    get: (it, name) => (name in it ? it[name] : () => element()),
    set: (it, name, value) => { it[name] = value; return true; },
  });
}

test("without activity the page asks for the network every 5 minutes, for the parts every 5 s", async () => {
  let now = 0;
  const timers = [];
  const requests = [];
  const answers = {
    "/v1/network": { ok: false, status: 404, body: { code: "view_missing", detail: "no activity" } },
    "/readyz": { ok: true, status: 200, body: { waits_for: { word: "nothing" }, parts: [] } },
    "/v1/jobs": { ok: true, status: 200, body: { jobs: [] } },
  };
  const never = new Promise(() => {});
  const fetch = (path) => {
    const route = path.split("?")[0];
    requests.push(route);
    const answer = answers[route];
    if (!answer) return never;
    return Promise.resolve({ ...answer, headers: new Headers(), json: async () => answer.body });
  };
  const replaced = {
    document: { getElementById: () => element(), createElement: () => element(), createElementNS: () => element() },
    sessionStorage: { getItem: () => null },
    location: { search: "" },
    performance: { now: () => now },
    setInterval: () => 0,
    setTimeout: (call, pause) => timers.push({ call, due: now + pause }),
    fetch,
  };
  for (const [name, value] of Object.entries(replaced)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  const settle = async () => { for (let turn = 0; turn < 50; turn += 1) await null; };
  await import("../../api/src/start/app.js");
  await settle();
  while (now < 601_000) {
    now += 1_000;
    for (const timer of timers.splice(0)) {
      if (timer.due > now) timers.push(timer);
      else timer.call();
    }
    await settle();
  }
  const asked = (route) => requests.filter((it) => it === route).length;
  assert.equal(asked("/v1/network"), 3);
  assert.equal(asked("/readyz"), 121);
});
