// SPDX-License-Identifier: Apache-2.0
//
// A plot of one or two lines over time, drawn as SVG, with the same as words and as a
// table.

import { el, keyed, setAttribute, setText, svg } from './dom.js';
import { clock } from './format.js';

const height = 132;
const margin = { top: 8, right: 8, bottom: 18, left: 62 };

export class Plot {
  #points = [];
  #span = 900;
  #now = 0;

  // Each line has a title, and a function value(point), whose result null is a gap. format
  // makes a text of a value. binary tells that the values are bytes. least is the smallest
  // height of the scale.
  constructor({ title, lines, format, binary = false, least = 0 }) {
    Object.assign(this, { title, lines, format, binary, least });
    this.drawing = svg('svg', { class: 'plot', role: 'img', height });
    this.readout = el('p', { class: 'readout', 'aria-hidden': 'true' });
    this.words = el('figcaption');
    this.rows = el('tbody');
    const legend = el('p', { class: 'legend' }, ...lines.map(({ title: name }, i) => el('span', {}, sample(i), name)));
    const table = el('table', {},
      el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Time'), ...lines.map((line) => el('th', { scope: 'col', class: 'numeric' }, line.title)))),
      this.rows);
    this.details = el('details', { ontoggle: () => this.#fillTable() }, el('summary', {}, 'As a table'), table);
    this.node = el('figure', {}, el('h3', {}, title), legend, el('div', { class: 'drawing' }, this.drawing, this.readout), this.words, this.details);
    this.drawing.addEventListener('pointermove', (event) => this.#read(event));
    this.drawing.addEventListener('pointerleave', () => this.#read(null));
    new ResizeObserver(() => this.#draw()).observe(this.drawing);
  }

  // show shows points, which end at now. span is the number of seconds of the plot.
  show(points, now, span) {
    this.#points = points.map((point) => ({ time: new Date(point.time).getTime(), values: this.lines.map(({ value }) => value(point)) }));
    this.#now = new Date(now).getTime();
    this.#span = span;
    this.#draw();
    const words = this.#describe();
    setText(this.words, words);
    setAttribute(this.drawing, 'aria-label', `${this.title}. ${words}`);
    this.#fillTable();
  }

  #x(time) {
    return margin.left + (1 - (this.#now - time) / 1000 / this.#span) * (this.width - margin.left - margin.right);
  }

  #y(value) {
    return height - margin.bottom - (value / this.top) * (height - margin.top - margin.bottom);
  }

  #draw() {
    this.width = this.drawing.clientWidth;
    if (!this.width) return;
    const most = Math.max(this.least, ...this.#points.flatMap(({ values }) => values.map((value) => value ?? 0)));
    const step = stepFor(most / 3, this.binary);
    this.top = Math.max(step, Math.ceil(most / step) * step);
    setAttribute(this.drawing, 'viewBox', `0 0 ${this.width} ${height}`);
    this.cursor = svg('line', { class: 'cursor', y1: margin.top, y2: height - margin.bottom, visibility: 'hidden' });
    this.drawing.replaceChildren(...this.#grid(step), ...this.lines.map((_, i) => this.#line(i)), this.cursor);
  }

  #grid(step) {
    const parts = [];
    for (let value = 0; value <= this.top * 1.001; value += step) {
      const y = Math.round(this.#y(value)) + 0.5;
      parts.push(
        svg('line', { class: value ? 'grid' : 'axis', x1: margin.left, x2: this.width - margin.right, y1: y, y2: y }),
        svg('text', { class: 'tick', x: margin.left - 6, y: y + 3.5, 'text-anchor': 'end' }, short(this.format(value))));
    }
    const minutes = 5 * 60e3;
    for (let time = Math.ceil((this.#now - this.#span * 1000) / minutes) * minutes; time <= this.#now; time += minutes) {
      const x = this.#x(time);
      parts.push(
        svg('line', { class: 'grid', x1: x, x2: x, y1: margin.top, y2: height - margin.bottom }),
        svg('text', { class: 'tick', x: Math.min(x, this.width - 16), y: height - 4, 'text-anchor': 'middle' }, clock(time, false)));
    }
    return parts;
  }

  // #line returns line i. Points without a value interrupt it, and a point between two of
  // them is a dot.
  #line(i) {
    const pieces = [[]];
    for (const { time, values } of this.#points) {
      if (time < this.#now - this.#span * 1000) continue;
      if (values[i] == null) pieces.push([]);
      else pieces.at(-1).push(`${this.#x(time).toFixed(1)} ${this.#y(values[i]).toFixed(1)}`);
    }
    const lines = pieces.filter((piece) => piece.length > 1).map((piece) => `M${piece.join('L')}`);
    const dots = pieces.filter((piece) => piece.length === 1).map(([at]) => `M${at}h.01`);
    return svg('g', { class: `line-${i}` },
      svg('path', { class: `line line-${i}`, d: lines.join('') || 'M0 0' }),
      svg('path', { class: `line dots line-${i}`, d: dots.join('') || 'M0 0' }));
  }

  // #read shows the values below the pointer.
  #read(event) {
    if (!event || !this.#points.length) {
      setText(this.readout, '');
      setAttribute(this.cursor ?? this.drawing, 'visibility', this.cursor ? 'hidden' : null);
      return;
    }
    const x = event.clientX - this.drawing.getBoundingClientRect().left;
    const near = this.#points.reduce((best, point) => (Math.abs(this.#x(point.time) - x) < Math.abs(this.#x(best.time) - x) ? point : best));
    const at = this.#x(near.time);
    setAttribute(this.cursor, 'x1', at);
    setAttribute(this.cursor, 'x2', at);
    setAttribute(this.cursor, 'visibility', 'visible');
    setText(this.readout, `${clock(near.time)}  ${this.lines.map(({ title }, i) => `${title} ${this.#text(near.values[i])}`).join(', ')}`);
  }

  #text(value) {
    return value == null ? 'none' : this.format(value);
  }

  #describe() {
    if (!this.#points.length) return 'No values yet.';
    return this.lines.map(({ title }, i) => {
      const known = this.#points.filter(({ values }) => values[i] != null);
      if (!known.length) return `${title}: none.`;
      const most = known.reduce((best, point) => (point.values[i] > best.values[i] ? point : best));
      const last = this.#points.at(-1).values[i];
      const now = `${title}: ${last == null ? 'none now' : `${this.format(last)} now`}`;
      return most.values[i] > 0 ? `${now}, at most ${this.format(most.values[i])} at ${clock(most.time)}.` : `${now}.`;
    }).join(' ');
  }

  // #fillTable shows one row for each minute, if the table is open.
  #fillTable() {
    if (!this.details.open) return;
    const minutes = new Map(this.#points.map((point) => [Math.floor(point.time / 60e3), point]));
    keyed(this.rows, [...minutes.values()].reverse(), ({ time }) => String(time), () => {
      const time = el('th', { scope: 'row' });
      const cells = this.lines.map(() => el('td', { class: 'numeric' }));
      return {
        node: el('tr', {}, time, ...cells),
        update: (point) => {
          setText(time, clock(point.time));
          cells.forEach((cell, i) => setText(cell, this.#text(point.values[i])));
        },
      };
    });
  }
}

// short leaves out zeros behind the point, which all marks of a scale would have.
const short = (text) => text.replace(/\.0+(?= |$)/, '');

// sample returns a piece of line i, for the legend.
const sample = (i) => svg('svg', { class: 'sample', viewBox: '0 0 22 8', 'aria-hidden': 'true' }, svg('path', { class: `line line-${i}`, d: 'M1 4h20' }));

// stepFor returns a distance of the grid's lines that is at least wanted: 1, 2 or 5, times
// a power of ten. For bytes it is a power of two.
function stepFor(wanted, binary) {
  if (!(wanted > 0)) return binary ? 1024 : 1;
  if (binary) return 2 ** Math.max(10, Math.ceil(Math.log2(wanted)));
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= wanted * 0.999);
}
