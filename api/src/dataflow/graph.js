// Draws the operators and channels of one scope. The layout is computed again only if the graph
// itself changes; each answer changes colours, widths and texts.

import { layout } from "./layout.js";
import { heat, idOf, percent, rate } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH_MIN = 148;
const LETTER_WIDTH = 9.2;
const HEIGHT = 48;
const NAME_LETTERS_MAX = 24;
// A text must stay readable when all of a graph is shown.
const SCALE_MIN = 0.62;
// Ticks go to most operators. A channel is drawn only on request if it has less than this share of
// the records of the largest channel, and its source sends to at least so many operators.
const FEW_SHARE = 0.05;
const FAN_OUT_MIN = 6;
const ZOOM_STEP = 1.3;

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const short = (name) => (name.length > NAME_LETTERS_MAX ? `${name.slice(0, NAME_LETTERS_MAX - 1)}…` : name);

const widthOf = (operator) => Math.max(WIDTH_MIN, 20 + LETTER_WIDTH * short(operator.name).length);

/** The operators directly in a scope, and the channels between them. */
function contents(answer, scope) {
  const inside = (address) => address.length === scope.length + 1 && scope.every((n, at) => address[at] === n);
  const operators = answer.operators.filter((operator) => inside(operator.address));
  const ids = new Set(operators.map((operator) => idOf(operator.address)));
  // Two operators may have several channels, one for each input: they are drawn as one.
  const edges = new Map();
  for (const channel of answer.channels) {
    const [source, target] = [idOf(channel.source), idOf(channel.target)];
    if (!ids.has(source) || !ids.has(target)) continue;
    const id = `${source}>${target}`;
    const edge = edges.get(id) ?? { id, source, target, records: 0, perSecond: 0 };
    edge.records += channel.records;
    edge.perSecond += channel.records_per_second;
    edges.set(id, edge);
  }
  return { operators, edges: [...edges.values()] };
}

/** The scopes that can be shown, the one with the most operators first. */
export function scopes(answer) {
  const counts = new Map();
  for (const { address } of answer.operators) {
    const scope = idOf(address.slice(0, -1));
    if (address.length > 1) counts.set(scope, (counts.get(scope) ?? 0) + 1);
  }
  const names = new Map(answer.operators.map((operator) => [idOf(operator.address), operator.name]));
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([id, operators]) => ({ id, name: names.get(id) ?? id, operators }));
}

export class Graph {
  constructor(box, onSelect, onOpen) {
    this.box = box;
    this.onSelect = onSelect;
    this.onOpen = onOpen;
    this.showsFew = false;
    this.shape = null;
    this.view = { x: 0, y: 0, scale: 1 };
    this.root = svg("svg", { role: "img", tabindex: "0", "aria-label": "The graph of operators. The table of operators has the same numbers. Arrow keys move, plus and minus zoom." });
    this.layer = svg("g");
    this.root.append(this.layer);
    box.replaceChildren(this.root);
    this.listen();
  }

  show(answer, scope, selected, causes) {
    const { operators, edges } = contents(answer, scope);
    const total = answer.operators.reduce((sum, operator) => sum + operator.recent.share, 0);
    this.most = Math.max(1, ...edges.map((edge) => edge.records));
    const drawn = edges.filter((edge) => this.showsFew || !this.isOfClock(edge, edges));
    const shape = [scope.join("."), ...operators.map((it) => `${idOf(it.address)}:${it.name}`), ...drawn.map((it) => it.id)].join(" ");
    if (shape !== this.shape) {
      this.shape = shape;
      this.build(operators, drawn);
    }
    for (const operator of operators) this.updateNode(operator, total, selected, causes);
    for (const edge of drawn) this.updateEdge(edge, selected);
    this.root.classList.toggle("has-selection", this.nodes.has(selected));
    return { operators: operators.length, edges: edges.length, hidden: edges.length - drawn.length };
  }

  // What is drawn must not change with each answer, so the records since the start decide.
  isOfClock(edge, edges) {
    const number = (end) => edges.filter((other) => other[end] === edge[end]).length;
    return edge.records < FEW_SHARE * this.most && number("source") >= FAN_OUT_MIN && number("target") > 1;
  }

  build(operators, edges) {
    const nodes = operators.map((operator) => ({ id: idOf(operator.address), width: widthOf(operator), height: HEIGHT }));
    const made = layout(nodes, edges, { gapX: 48, gapY: 12 });
    this.size = { width: made.width, height: made.height };
    this.nodes = new Map(operators.map((operator) => [idOf(operator.address), this.node(operator, made.places)]));
    this.edges = new Map(made.routes.map(({ index, points }) => [edges[index].id, this.edge(points)]));
    this.layer.replaceChildren(
      ...[...this.edges.values()].map((edge) => edge.group),
      ...[...this.nodes.values()].map((node) => node.group),
    );
    this.fit();
  }

  node(operator, places) {
    const id = idOf(operator.address);
    const { x, y } = places.get(id);
    const width = widthOf(operator);
    const name = svg("text", { x: 10, y: 20 }, short(operator.name));
    const numbers = svg("text", { x: 10, y: 39, class: "numbers" });
    const title = svg("title");
    const group = svg("g", { transform: `translate(${x} ${y})` }, title, svg("rect", { width, height: HEIGHT, rx: 6 }), name, numbers);
    group.dataset.id = id;
    return { group, numbers, title, x, y, width };
  }

  edge(points) {
    const [x0, y0] = points[0];
    let path = `M${x0} ${y0}`;
    for (let i = 1; i < points.length; i++) {
      const [[ax, ay], [bx, by]] = [points[i - 1], points[i]];
      const half = (bx - ax) / 2;
      path += ` C${ax + half} ${ay} ${bx - half} ${by} ${bx} ${by}`;
    }
    const [[mx, my], [nx, ny]] = points.length % 2 ? [points[(points.length - 1) / 2], points[(points.length - 1) / 2]] : [points[points.length / 2 - 1], points[points.length / 2]];
    const line = svg("path", { d: path, class: "line" });
    const text = svg("text", { x: (mx + nx) / 2, y: (my + ny) / 2 - 4, "text-anchor": "middle" });
    const group = svg("g", { class: "edge" }, line, svg("path", { d: path, class: "wide" }), text);
    return { group, line, text };
  }

  updateNode(operator, total, selected, causes) {
    const id = idOf(operator.address);
    const { group, numbers, title } = this.nodes.get(id);
    const { recent } = operator;
    const ofBusy = total > 0 ? recent.share / total : 0;
    const records = Math.max(recent.input_records_per_second, recent.output_records_per_second);
    group.setAttribute("class", ["node", `heat-${heat(ofBusy)}`, operator.is_scope && "scope", id === selected && "selected", causes.has(id) && "cause"].filter(Boolean).join(" "));
    numbers.textContent = `${causes.has(id) ? "▲ " : ""}${percent(ofBusy)} · ${rate(records)}`;
    title.textContent = `${operator.name}: ${percent(ofBusy)} of the busy time, ${percent(recent.share)} of all time; ${rate(recent.input_records_per_second)} in, ${rate(recent.output_records_per_second)} out${operator.is_scope ? "; double-click shows its operators" : ""}`;
  }

  updateEdge(edge, selected) {
    const { group, line, text } = this.edges.get(edge.id) ?? {};
    if (!group) return;
    line.setAttribute("stroke-width", (1 + 1.4 * Math.log10(1 + edge.perSecond)).toFixed(2));
    text.textContent = rate(edge.perSecond);
    const isNear = edge.source === selected || edge.target === selected;
    group.setAttribute("class", ["edge", edge.perSecond < 1 && "thin", isNear && "near"].filter(Boolean).join(" "));
  }

  /** Shows all of the graph, but not smaller than a text can be read. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.box;
    const whole = Math.min(width / (this.size.width + 24), height / (this.size.height + 24));
    const scale = Math.min(1.2, Math.max(whole, width < 700 ? 0.75 : SCALE_MIN));
    this.view = { scale, x: 12 * scale, y: Math.max(12 * scale, (height - this.size.height * scale) / 2) };
    if (this.size.height * scale > height) this.view.y = (height - this.size.height * scale) / 2;
    this.apply();
  }

  /** Moves an operator into the middle. */
  reveal(id) {
    const node = this.nodes?.get(id);
    if (!node) return;
    const { scale } = this.view;
    this.view.x = this.box.clientWidth / 2 - (node.x + node.width / 2) * scale;
    this.view.y = this.box.clientHeight / 2 - (node.y + HEIGHT / 2) * scale;
    this.apply();
  }

  apply() {
    const { x, y, scale } = this.view;
    this.layer.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${scale.toFixed(4)})`);
  }

  /** Zooms; the point (x, y) of the box stays where it is. */
  zoom(factor, x = this.box.clientWidth / 2, y = this.box.clientHeight / 2) {
    const scale = Math.min(3, Math.max(0.15, this.view.scale * factor));
    const ratio = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * ratio, y: y - (y - this.view.y) * ratio };
    this.apply();
  }

  move(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.apply();
  }

  listen() {
    const fingers = new Map();
    let moved = 0;
    const spread = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    const at = (event) => {
      const { left, top } = this.root.getBoundingClientRect();
      return { x: event.clientX - left, y: event.clientY - top };
    };
    this.root.addEventListener("pointerdown", (event) => {
      if (fingers.size === 0) moved = 0;
      fingers.set(event.pointerId, at(event));
      this.root.classList.add("moves");
    });
    this.root.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const now = at(event);
      const wide = fingers.size === 2 ? spread() : 0;
      fingers.set(event.pointerId, now);
      moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
      // The capture keeps a drag that leaves the box; before that, a click still reaches its node.
      if (moved > 4 && !this.root.hasPointerCapture(event.pointerId)) this.root.setPointerCapture(event.pointerId);
      if (fingers.size === 2) this.zoom(spread() / Math.max(1, wide), now.x, now.y);
      else this.move(now.x - before.x, now.y - before.y);
    });
    const lift = (event) => {
      fingers.delete(event.pointerId);
      this.root.classList.toggle("moves", fingers.size > 0);
    };
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) this.root.addEventListener(name, lift);
    const idAt = (event) => event.target.closest?.(".node")?.dataset.id ?? null;
    this.root.addEventListener("click", (event) => { if (moved <= 4) this.onSelect(idAt(event)); });
    this.root.addEventListener("dblclick", (event) => { if (idAt(event)) this.onOpen(idAt(event)); });
    this.root.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const { x, y } = at(event);
      this.zoom(Math.exp(-event.deltaY / 300), x, y);
    }, { passive: false });
    const keys = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    this.root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (keys[event.key]) this.move(...keys[event.key]);
      else if (event.key === "+") this.zoom(ZOOM_STEP);
      else if (event.key === "-") this.zoom(1 / ZOOM_STEP);
      else if (event.key === "Escape") this.onSelect(null);
      else return;
      event.preventDefault();
    });
  }
}
