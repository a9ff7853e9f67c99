// The sortable tables: operators, and structures in memory. Rows are updated in place, so that a
// selection, the focus and the pointer stay where they are.

import { element } from "../rows.js";
import { bytes, count, idOf, percent, rate, skew } from "./format.js";

/** `columns`: `{ name, title, of: row => value, show: (value, row) => text or element, isText }`. */
export class Table {
  constructor(table, columns, keyOf, sorted) {
    this.columns = columns;
    this.keyOf = keyOf;
    this.sorted = sorted;
    this.rows = new Map();
    this.body = element("tbody");
    this.heads = columns.map((column) => {
      const button = element("button", "", column.name);
      button.type = "button";
      button.title = column.title;
      button.addEventListener("click", () => this.sortBy(column));
      const head = element("th", column.isText ? "text" : "", button);
      head.scope = "col";
      return head;
    });
    table.replaceChildren(element("thead", "", element("tr", "", ...this.heads)), this.body);
  }

  sortBy(column) {
    const isSame = this.sorted.name === column.name;
    this.sorted = { name: column.name, descending: isSame ? !this.sorted.descending : !column.isText };
    this.show(this.items ?? []);
  }

  show(items, decorate = this.decorate ?? (() => "")) {
    this.items = items;
    this.decorate = decorate;
    this.columns.forEach((column, at) => {
      const isSorted = column.name === this.sorted.name;
      const direction = this.sorted.descending ? "descending" : "ascending";
      this.heads[at].setAttribute("aria-sort", isSorted ? direction : "none");
      this.heads[at].firstChild.textContent = isSorted ? `${column.name} ${this.sorted.descending ? "▾" : "▴"}` : column.name;
    });
    const { of } = this.columns.find((column) => column.name === this.sorted.name);
    const turn = this.sorted.descending ? -1 : 1;
    const value = (item) => of(item) ?? -Infinity;
    const compare = (a, b) => (value(a) < value(b) ? -turn : value(a) > value(b) ? turn : 0);
    const ordered = [...items].sort((a, b) => compare(a, b) || this.keyOf(a).localeCompare(this.keyOf(b)));
    const shown = ordered.map((item) => this.row(item));
    const isUnchanged = shown.length === this.body.children.length && shown.every((row, at) => row === this.body.children[at]);
    if (!isUnchanged) this.body.replaceChildren(...shown);
  }

  row(item) {
    const key = this.keyOf(item);
    let row = this.rows.get(key);
    if (!row) {
      row = element("tr", "", ...this.columns.map((column, at) => {
        const cell = element(at === 0 ? "th" : "td", column.isText ? "text" : "");
        if (at === 0) cell.scope = "row";
        return cell;
      }));
      this.rows.set(key, row);
    }
    row.className = this.decorate(key);
    this.columns.forEach((column, at) => {
      const cell = row.children[at];
      const shown = column.show(column.of(item), item);
      if (typeof shown === "string") {
        if (cell.textContent !== shown) cell.textContent = shown;
      } else if (!cell.firstChild || shown.dataset.same !== cell.firstChild.dataset?.same) {
        cell.replaceChildren(shown);
      }
    });
    return row;
  }
}

function bar(share, most) {
  const made = element("span", "share");
  made.style.width = `${Math.round((share / most) * 60)}px`;
  const cell = element("span", "", made, percent(share));
  cell.dataset.same = `${made.style.width} ${percent(share)}`;
  return cell;
}

/** The table of operators. `select` is called with the id of the operator whose name is pressed. */
export function operatorTable(table, select) {
  let most = 1;
  const columns = [
    {
      name: "Operator", title: "Its name in the code", isText: true,
      of: (it) => it.name,
      show: (name, it) => {
        const button = element("button", "as-link", name);
        button.type = "button";
        button.dataset.same = `${name} ${idOf(it.address)}`;
        button.addEventListener("click", () => select(idOf(it.address)));
        return button;
      },
    },
    { name: "Time", title: "Share of the time of all workers", of: (it) => it.recent.share, show: (share) => bar(share, most) },
    { name: "Of busy", title: "Share of the busy time", of: (it) => it.ofBusy, show: percent },
    { name: "Records in", title: "Records received per second", of: (it) => it.recent.input_records_per_second, show: rate },
    { name: "Records out", title: "Records sent per second", of: (it) => it.recent.output_records_per_second, show: rate },
    { name: "Scheduled", title: "How often it was scheduled, per second", of: (it) => it.recent.activations_per_second, show: rate },
    { name: "Skew", title: "Time of the slowest worker divided by the mean of all workers: 1 is even", of: (it) => skew(it.recent.share_by_worker), show: (value) => (value === null ? "–" : `${value.toFixed(1)}×`) },
    { name: "Arranged", title: "Updates in its arrangement, now", of: (it) => it.arrangement?.records ?? null, show: (n) => (n === null ? "–" : count(n)) },
  ];
  const made = new Table(table, columns, (it) => idOf(it.address), { name: "Time", descending: true });
  return {
    show(operators, decorate) {
      most = Math.max(1e-9, ...operators.map((it) => it.recent.share));
      made.show(operators, decorate);
    },
  };
}

/** The structures in memory: sums of all workers. */
export function stateRows(sizes) {
  return sizes.map((size) => ({ ...size, byWorker: (size.by_worker ?? []).map((it) => it.bytes) }));
}

export function stateTable(table) {
  const columns = [
    { name: "Structure", title: "The part and the structure", isText: true, of: (it) => it.name, show: (name) => name },
    { name: "Bytes", title: "Memory that it holds, with unused capacity", of: (it) => it.bytes, show: bytes },
    { name: "Entries", title: "Its entries", of: (it) => it.entries, show: count },
    { name: "Bytes each", title: "Bytes divided by entries", of: (it) => (it.entries ? it.bytes / it.entries : null), show: (n) => (n === null ? "–" : count(n)) },
    { name: "Skew", title: "The largest worker divided by the mean of all workers: 1 is even", of: (it) => (it.byWorker.length > 1 ? skew(it.byWorker) : null), show: (value) => (value === null ? "–" : `${value.toFixed(1)}×`) },
    { name: "Option", title: "The option that changes its size", isText: true, of: (it) => it.option ?? "", show: (option) => option || "–" },
  ];
  return new Table(table, columns, (it) => it.name, { name: "Bytes", descending: true });
}
