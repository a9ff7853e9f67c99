// A layered layout of a directed graph, from left to right (Sugiyama's method):
//
//   break cycles ─▶ layers by longest path ─▶ dummy nodes on long edges ─▶ order within layers by
//   barycentres, the order with the fewest crossings wins ─▶ coordinates
//
// It knows neither the page nor the dataflow: numbers in, numbers out. The same graph always gives
// the same layout.

const SWEEPS = 24;
const SHIFTS = 16;
const DUMMY_HEIGHT = 6;

/**
 * Lays a graph out. `nodes`: `{id, width, height}`. `edges`: `{source, target}`, the ids of nodes;
 * edges between unknown nodes are skipped. Returns `places` (a Map of `{x, y, layer}` by id; x and y
 * are the upper left corner), `routes` (for each drawn edge its index in `edges` and the points from
 * its source to its target), and the `width` and `height` of all.
 */
export function layout(nodes, edges, { gapX = 70, gapY = 14 } = {}) {
  const known = new Map(nodes.map((node) => [node.id, node]));
  const drawn = edges
    .map((edge, index) => ({ index, source: edge.source, target: edge.target }))
    .filter(({ source, target }) => known.has(source) && known.has(target) && source !== target);
  const forward = breakCycles(nodes, drawn);
  const layerOf = longestPath(nodes, forward);
  const { layers, chains } = insertDummies(nodes, forward, layerOf);
  order(layers);
  place(layers, gapX, gapY);
  return collect(layers, chains);
}

/** The edges without cycles: an edge that closes a cycle is turned round. */
export function breakCycles(nodes, edges) {
  const leaving = group(edges, (edge) => edge.source);
  const state = new Map();
  const turned = new Set();
  for (const { id } of nodes) {
    if (state.has(id)) continue;
    // A loop instead of recursion: a path may be long.
    const path = [{ id, next: 0 }];
    state.set(id, "open");
    while (path.length) {
      const top = path.at(-1);
      const edge = (leaving.get(top.id) ?? [])[top.next++];
      if (!edge) {
        state.set(top.id, "done");
        path.pop();
      } else if (state.get(edge.target) === "open") {
        turned.add(edge.index);
      } else if (!state.has(edge.target)) {
        state.set(edge.target, "open");
        path.push({ id: edge.target, next: 0 });
      }
    }
  }
  return edges.map((edge) => (turned.has(edge.index)
    ? { ...edge, source: edge.target, target: edge.source, turned: true }
    : { ...edge, turned: false }));
}

/** The layer of each node: the length of the longest path to it. Sources move next to a target. */
export function longestPath(nodes, edges) {
  const entering = group(edges, (edge) => edge.target);
  const leaving = group(edges, (edge) => edge.source);
  const missing = new Map(nodes.map(({ id }) => [id, (entering.get(id) ?? []).length]));
  const layerOf = new Map(nodes.map(({ id }) => [id, 0]));
  const ready = nodes.filter(({ id }) => missing.get(id) === 0).map(({ id }) => id);
  for (const id of ready) {
    for (const { target } of leaving.get(id) ?? []) {
      layerOf.set(target, Math.max(layerOf.get(target), layerOf.get(id) + 1));
      missing.set(target, missing.get(target) - 1);
      if (missing.get(target) === 0) ready.push(target);
    }
  }
  for (const { id } of nodes) {
    const targets = leaving.get(id) ?? [];
    if (entering.has(id) || targets.length === 0) continue;
    layerOf.set(id, Math.min(...targets.map(({ target }) => layerOf.get(target))) - 1);
  }
  return layerOf;
}

function insertDummies(nodes, edges, layerOf) {
  const count = Math.max(0, ...layerOf.values()) + 1;
  const layers = Array.from({ length: count }, () => []);
  const cell = (layer, node) => {
    const made = { ...node, layer, before: [], after: [] };
    layers[layer].push(made);
    return made;
  };
  const cells = new Map(nodes.map((node) => [node.id, cell(layerOf.get(node.id), node)]));
  const chains = edges.map((edge) => {
    const [first, last] = [cells.get(edge.source), cells.get(edge.target)];
    const chain = [first];
    for (let layer = first.layer + 1; layer < last.layer; layer++) {
      chain.push(cell(layer, { id: null, width: 0, height: DUMMY_HEIGHT }));
    }
    chain.push(last);
    for (let i = 1; i < chain.length; i++) {
      chain[i - 1].after.push(chain[i]);
      chain[i].before.push(chain[i - 1]);
    }
    return { index: edge.index, turned: edge.turned, chain };
  });
  return { layers, chains };
}

/** Orders the cells of each layer by the mean position of their neighbours. */
function order(layers) {
  const number = () => layers.forEach((layer) => layer.forEach((cell, at) => { cell.at = at; }));
  number();
  let best = layers.map((layer) => [...layer]);
  let fewest = crossings(layers);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const down = sweep % 2 === 0;
    const turn = down ? layers : [...layers].reverse();
    for (const layer of turn) {
      for (const cell of layer) {
        const near = down ? cell.before : cell.after;
        cell.wanted = near.length ? near.reduce((sum, other) => sum + other.at, 0) / near.length : cell.at;
      }
      layer.sort((a, b) => a.wanted - b.wanted || a.at - b.at);
      layer.forEach((cell, at) => { cell.at = at; });
    }
    const now = crossings(layers);
    if (now < fewest) {
      fewest = now;
      best = layers.map((layer) => [...layer]);
    }
  }
  best.forEach((layer, at) => { layers[at] = layer; });
  number();
}

/** The number of pairs of edges between neighbouring layers that cross. */
export function crossings(layers) {
  let count = 0;
  for (const layer of layers) {
    const ends = layer.flatMap((cell) => cell.after.map((other) => [cell.at, other.at]));
    ends.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (let i = 0; i < ends.length; i++) {
      for (let j = i + 1; j < ends.length; j++) {
        if (ends[i][0] < ends[j][0] && ends[i][1] > ends[j][1]) count++;
      }
    }
  }
  return count;
}

function place(layers, gapX, gapY) {
  let x = 0;
  for (const layer of layers) {
    const width = Math.max(0, ...layer.map((cell) => cell.width));
    let y = 0;
    for (const cell of layer) {
      cell.x = x + (width - cell.width) / 2;
      cell.y = y;
      y += cell.height + gapY;
    }
    x += width + gapX;
  }
  // Each cell moves towards its neighbours as far as its layer's order and gaps allow.
  for (let shift = 0; shift < SHIFTS; shift++) {
    const down = shift % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) settle(layer, gapY, down);
  }
  const top = Math.min(...layers.flat().map((cell) => cell.y));
  layers.flat().forEach((cell) => { cell.y -= top; });
}

/**
 * Places the cells of a layer as near to their wanted positions as possible without overlaps: cells
 * that would overlap form a block, which takes the mean of what its cells want.
 */
function settle(layer, gapY, down) {
  const blocks = [];
  for (const cell of layer) {
    const near = down ? cell.before : cell.after;
    const all = near.length ? near : [...cell.before, ...cell.after];
    const middle = (other) => other.y + other.height / 2;
    const wanted = all.length
      ? all.reduce((sum, other) => sum + middle(other), 0) / all.length - cell.height / 2
      : cell.y;
    // Straight chains of dummies look better than straight nodes.
    const weight = cell.id === null ? 2 : 1;
    let block = { cells: [cell], height: cell.height + gapY, sum: wanted * weight, weight };
    while (blocks.length) {
      const above = blocks.at(-1);
      if (above.sum / above.weight + above.height <= block.sum / block.weight) break;
      blocks.pop();
      block = {
        cells: [...above.cells, ...block.cells],
        height: above.height + block.height,
        sum: above.sum + block.sum - above.height * block.weight,
        weight: above.weight + block.weight,
      };
    }
    blocks.push(block);
  }
  for (const block of blocks) {
    let y = block.sum / block.weight;
    for (const cell of block.cells) {
      cell.y = y;
      y += cell.height + gapY;
    }
  }
}

function collect(layers, chains) {
  const cells = layers.flat();
  const real = cells.filter((cell) => cell.id !== null);
  const places = new Map(real.map(({ id, x, y, layer }) => [id, { x, y, layer }]));
  const routes = chains.map(({ index, turned, chain }) => {
    const points = chain.flatMap((cell) => {
      const y = cell.y + cell.height / 2;
      return cell.id === null ? [[cell.x, y]] : [[cell.x, y], [cell.x + cell.width, y]];
    });
    // From the right side of the source to the left side of the target.
    const route = points.slice(1, -1);
    return { index, turned, points: turned ? route.reverse() : route };
  });
  routes.sort((a, b) => a.index - b.index);
  return {
    places,
    routes,
    width: Math.max(0, ...cells.map((cell) => cell.x + cell.width)),
    height: Math.max(0, ...cells.map((cell) => cell.y + cell.height)),
  };
}

function group(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return groups;
}
