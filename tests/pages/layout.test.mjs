// Tests of the layout and the texts of the page `/dataflow`.
//
//   node --test tests/pages/*.test.mjs

import assert from "node:assert/strict";
import test from "node:test";

import { bytes, count, duration, heat, percent, rate, skew } from "../../api/src/dataflow/format.js";
import { breakCycles, crossings, layout, longestPath } from "../../api/src/dataflow/layout.js";

const node = (id) => ({ id, width: 100, height: 30 });
const edge = ([source, target], index) => ({ source, target, index });
const nodes = (text) => [...text].map(node);
const edges = (...pairs) => pairs.map(edge);

/** A random graph, by a seed. */
function random(seed) {
  let state = seed;
  const next = (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  const size = 2 + next(80);
  const made = Array.from({ length: size }, (_, at) => ({ id: String(at), width: 20 + next(200), height: 10 + next(60) }));
  const links = Array.from({ length: next(3 * size) }, () => ({ source: String(next(size)), target: String(next(size)) }));
  return { made, links };
}

test("an edge goes from a layer to a later one, unless it closes a cycle", () => {
  const graph = edges("ab", "bc", "ca", "cd");
  const forward = breakCycles(nodes("abcd"), graph);
  assert.deepEqual(forward.map((it) => it.turned), [false, false, true, false]);
  const layers = longestPath(nodes("abcd"), forward);
  assert.deepEqual([..."abcd"].map((id) => layers.get(id)), [0, 1, 2, 3]);
});

test("a source stands next to what it feeds", () => {
  const layers = longestPath(nodes("abcx"), breakCycles(nodes("abcx"), edges("ab", "bc", "xc")));
  assert.equal(layers.get("x"), 1);
});

test("the order has no crossing where none is needed", () => {
  // Written in an order that crosses: a-e, b-d.
  const made = layout(nodes("abcde"), edges("cb", "ca", "ae", "bd"));
  const above = (one, other) => made.places.get(one).y < made.places.get(other).y;
  assert.equal(above("a", "b"), above("e", "d"));
});

test("crossings are counted", () => {
  const cell = (at, after) => ({ at, after });
  const [x, y] = [cell(0, []), cell(1, [])];
  assert.equal(crossings([[cell(0, [y]), cell(1, [x])], [x, y]]), 1);
  assert.equal(crossings([[cell(0, [x]), cell(1, [y])], [x, y]]), 0);
});

test("a long edge passes through the layers between its ends", () => {
  const made = layout(nodes("abc"), edges("ab", "bc", "ac"));
  assert.deepEqual(made.routes.map((it) => it.points.length), [2, 2, 3]);
});

test("edges to unknown operators and to themselves are not drawn", () => {
  assert.deepEqual(layout(nodes("ab"), edges("aa", "az", "ab")).routes.map((it) => it.index), [2]);
  assert.deepEqual(layout([], []), { places: new Map(), routes: [], width: 0, height: 0 });
});

test("random graphs: no overlap, all edges have routes, and the same graph has the same layout", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const { made, links } = random(seed);
    const { places, routes, width, height } = layout(made, links);
    assert.deepEqual(layout(made, links).places, places, `seed ${seed}`);
    assert.equal(places.size, made.length);
    assert.equal(routes.length, links.filter((it) => it.source !== it.target).length, `seed ${seed}`);
    for (const [at, one] of made.entries()) {
      const a = places.get(one.id);
      assert.ok(a.x >= -1e-6 && a.y >= -1e-6 && a.x + one.width <= width + 1e-6 && a.y + one.height <= height + 1e-6, `seed ${seed}: ${one.id} is outside`);
      for (const other of made.slice(at + 1)) {
        const b = places.get(other.id);
        const apart = a.x + one.width <= b.x || b.x + other.width <= a.x || a.y + one.height <= b.y + 1e-6 || b.y + other.height <= a.y + 1e-6;
        assert.ok(apart, `seed ${seed}: ${one.id} and ${other.id} overlap`);
      }
    }
    for (const { index, turned, points } of routes) {
      const { source, target } = links[index];
      const size = (id) => made.find((it) => it.id === id);
      const from = turned ? points.at(-1) : points[0];
      const forward = turned ? target : source;
      assert.ok(from[0] === places.get(forward).x + size(forward).width, `seed ${seed}: an edge starts elsewhere`);
    }
  }
});

test("numbers are short texts", () => {
  assert.deepEqual([0, 0.0004, 0.055, 0.555].map(percent), ["0 %", "< 0.1 %", "5.5 %", "56 %"]);
  assert.deepEqual([0, 0.01, 4.25, 1234, 56_789].map(rate), ["0/s", "< 0.1/s", "4.3/s", "1,234/s", "56.8K/s"]);
  assert.deepEqual([0, 1536, -1048576, null].map(bytes), ["0 B", "1.5 KiB", "−1.0 MiB", "–"]);
  assert.deepEqual([250, 1_500, 600_000, 10_000_000].map(duration), ["250 ms", "1.5 s", "10 min", "3 h"]);
  assert.equal(count(9_999), "9,999");
  assert.deepEqual([0, 0.01, 0.06, 0.2, 0.9].map(heat), [0, 1, 2, 3, 4]);
  assert.equal(skew([0.3, 0.1]), 1.4999999999999998);
  assert.equal(skew([0, 0]), null);
});
