// SPDX-License-Identifier: Apache-2.0
//
// The connections that are served now: their rates, their order, and those that a filter
// lets through.

import { el, setText, show } from './dom.js';
import { bytes, count, plural, rate, seconds, secondsBetween, span } from './format.js';
import { VirtualTable } from './table.js';

const amount = (n) => (n > 0 ? bytes(n) : '–');
const pace = (n) => (n >= 1 ? rate(n) : '–');

const columns = [
  { name: 'destination', title: 'Destination', key: (c) => c.destinationKey, text: (c) => (c.state === 'open' ? c.destination : `${c.destination} ${c.state}`) },
  { name: 'source', title: 'From', key: (c) => c.sourceKey, text: (c) => c.source },
  { name: 'server', title: 'Proxy-server', key: (c) => c.server ?? '', text: (c) => c.server || '–' },
  { name: 'age', title: 'Age', numeric: true, key: (c) => c.age, text: (c) => span(c.age) },
  { name: 'idle', title: 'Idle', numeric: true, key: (c) => c.idleSeconds, text: (c) => span(c.idleSeconds) },
  { name: 'sent', title: 'Sent', numeric: true, key: (c) => c.sentBytes, text: (c) => amount(c.sentBytes) },
  { name: 'received', title: 'Received', numeric: true, key: (c) => c.receivedBytes, text: (c) => amount(c.receivedBytes) },
  { name: 'rate', title: 'Rate', numeric: true, key: (c) => c.rate, text: (c) => pace(c.rate) },
  { name: 'held', title: 'Held back', numeric: true, key: (c) => c.heldBytes, text: (c) => amount(c.heldBytes) },
  { name: 'dial', title: 'Dial', numeric: true, key: (c) => c.dialSeconds, text: (c) => seconds(c.dialSeconds) },
  { name: 'id', title: 'Dial id', key: (c) => c.dialID ?? '', text: (c) => c.dialID || '–' },
];

// What "Show" offers.
const kinds = {
  all: { title: 'all', test: () => true },
  dialling: { title: 'dialling', test: (c) => c.state === 'dialling' },
  moving: { title: 'with moving bytes', test: (c) => c.rate >= 1 },
  held: { title: 'held back', test: (c) => c.heldBytes > 0 },
  idle: { title: 'idle for a minute', test: (c) => c.state === 'open' && c.idleSeconds >= 60 },
};

// A connection with a buffer above this takes more than half of the default buffer.
const muchHeld = 8 << 20;

const level = (c) => (c.state !== 'open' ? 'none' : c.heldBytes > muchHeld ? 'warn' : 'ok');

export class Connections {
  #all = [];
  #known = new Map();
  #instance = '';
  #now = '';
  #kind = 'all';
  #words = [];
  #order = { name: 'received', descending: true };

  constructor(parent) {
    this.table = new VirtualTable({ label: 'Connections', columns, level, sort: (name) => this.sort(name) });
    this.summary = el('p', { class: 'about' }, 'Waiting for the list of connections.');
    // A screen reader reads this aloud: what a filter has found, and not each new list.
    this.found = el('p', { class: 'unseen', role: 'status' });
    this.filter = el('input', { id: 'filter', type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: '10.250 :10250', oninput: () => this.#search() });
    this.kind = el('select', { id: 'kind', onchange: () => this.#choose() }, ...Object.entries(kinds).map(([value, { title }]) => el('option', { value }, title)));
    this.sorting = el('select', { id: 'sorting', onchange: () => this.sort(this.sorting.value, this.#order.descending) }, ...columns.map(({ name, title }) => el('option', { value: name }, title)));
    this.direction = el('button', { id: 'direction', type: 'button', onclick: () => this.sort(this.#order.name) });
    parent.append(
      el('div', { class: 'tools', role: 'group', 'aria-label': 'Filter and order' },
        el('label', {}, 'Filter ', this.filter),
        el('label', {}, 'Show ', this.kind),
        el('label', { class: 'narrow' }, 'Order ', this.sorting),
        el('span', { class: 'narrow' }, this.direction)),
      this.summary,
      this.found,
      this.table.node);
    this.#showOrder();
  }

  // take takes an answer of the sidecar, and computes rates from it and the one before.
  take({ instance, now, connections }) {
    if (instance !== this.#instance) this.#known.clear();
    const elapsed = secondsBetween(this.#now, now);
    const at = new Date(now).getTime();
    this.#all = connections ?? [];
    for (const c of this.#all) this.#complete(c, at, elapsed);
    for (const [id, known] of this.#known) if (known.at !== at) this.#known.delete(id);
    this.#instance = instance;
    this.#now = now;
    this.update();
  }

  // #complete adds to a connection what the page shows, filters and orders by. What does
  // not change is kept, for there may be thousands.
  #complete(c, at, elapsed) {
    let known = this.#known.get(c.id);
    const isNew = !known;
    if (isNew) {
      known = { accepted: new Date(c.accepted).getTime(), destinationKey: byNumbers(c.destination), sourceKey: byNumbers(c.source) };
      this.#known.set(c.id, known);
    }
    const moved = c.sentBytes + c.receivedBytes;
    c.age = Math.max(0, (at - known.accepted) / 1000);
    if (isNew) known.rate = moved / Math.max(c.age, 1);
    else if (elapsed > 0) known.rate = Math.max(0, moved - known.moved) / elapsed;
    // The server and the ids come later than the connection.
    if (isNew || known.server !== c.server) known.haystack = haystackOf(c);
    known.server = c.server;
    known.moved = moved;
    known.at = at;
    c.rate = known.rate;
    c.haystack = known.haystack;
    c.destinationKey = known.destinationKey;
    c.sourceKey = known.sourceKey;
  }

  // sort orders by a column. Without a direction the same column again turns the order
  // around, and another begins with the largest number or the first text.
  sort(name, descending) {
    const column = columns.find((c) => c.name === name);
    descending ??= name === this.#order.name ? !this.#order.descending : Boolean(column.numeric);
    this.#order = { name, descending };
    this.#showOrder();
    this.update();
  }

  // update shows what passes the filter, in order.
  update() {
    const test = kinds[this.#kind].test;
    const words = this.#words;
    const rows = this.#all.filter((c) => test(c) && words.every((word) => c.haystack.includes(word)));
    const { key } = columns.find((c) => c.name === this.#order.name);
    const sign = this.#order.descending ? -1 : 1;
    rows.sort((a, b) => {
      const x = key(a);
      const y = key(b);
      return x < y ? -sign : x > y ? sign : a.id - b.id;
    });
    setText(this.summary, this.#describe(rows));
    show(this.table.node, rows.length > 0);
    this.table.show(rows);
  }

  #describe(rows) {
    const total = this.#all.length;
    if (total === 0) return 'No connection is open. Each redirected connection appears here as long as it lasts.';
    const sums = rows.reduce((sum, c) => ({ rate: sum.rate + c.rate, held: sum.held + c.heldBytes }), { rate: 0, held: 0 });
    const shown = rows.length === total ? plural(total, 'connection') : `${count(rows.length)} of ${plural(total, 'connection')}`;
    if (rows.length === 0) return `${shown} pass the filter.`;
    return `${shown}, together ${rate(sums.rate)}, held back ${bytes(sums.held)}.`;
  }

  #search() {
    this.#words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.#filtered();
  }

  #choose() {
    this.#kind = this.kind.value;
    this.#filtered();
  }

  #filtered() {
    this.table.node.scrollTop = 0;
    this.update();
    setText(this.found, this.summary.textContent);
  }

  #showOrder() {
    const { name, descending } = this.#order;
    this.table.sorted(name, descending);
    this.sorting.value = name;
    const { numeric } = columns.find((c) => c.name === name);
    setText(this.direction, numeric ? (descending ? 'largest first' : 'smallest first') : descending ? 'Z to A' : 'A to Z');
  }
}

// byNumbers returns a text that orders addresses by their numbers: 10.0.0.9 before
// 10.0.0.10.
const byNumbers = (text) => (text ?? '').replace(/\d+/g, (digits) => digits.padStart(5, '0'));
const haystackOf = (c) => [c.destination, c.source, c.server, c.dialID, c.connectionID].join('\n').toLowerCase();
