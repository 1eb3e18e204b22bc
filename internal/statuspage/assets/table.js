// SPDX-License-Identifier: Apache-2.0
//
// A table of thousands of rows. Only the rows in sight have elements, which are used again
// for other rows when the table scrolls. All rows have the same height, which the style
// sheet decides.

import { el, mark, setAttribute, setLevel, setText } from './dom.js';

// Rows above and below those in sight.
const spareRows = 4;

export class VirtualTable {
  #rows = [];
  #pool = [];
  #height = 0;
  #planned = false;

  // Each column has a name, a title, a function text(row), and numeric if its numbers
  // stand right. The first column's cell has the mark of level(row). sort(name) is called
  // for a click on a title.
  constructor({ label, columns, level, sort }) {
    this.columns = columns;
    this.level = level;
    this.buttons = new Map();
    const titles = columns.map((column) => {
      const button = el('button', { type: 'button', onclick: () => sort(column.name) }, column.title);
      const cell = el('div', { role: 'columnheader', class: `cell ${column.name}${column.numeric ? ' numeric' : ''}` }, button);
      this.buttons.set(column.name, cell);
      return cell;
    });
    this.head = el('div', { role: 'rowgroup', class: 'head' }, el('div', { role: 'row', class: 'row', 'aria-rowindex': 1 }, ...titles));
    this.body = el('div', { role: 'rowgroup', class: 'rows' });
    this.node = el('div', { role: 'table', class: 'virtual', 'aria-label': label, tabindex: 0 }, this.head, this.body);
    this.node.addEventListener('scroll', () => this.#plan(), { passive: true });
    new ResizeObserver(() => {
      this.#height = 0;
      this.#plan();
    }).observe(this.node);
  }

  // sorted shows the order in the titles.
  sorted(name, descending) {
    for (const [column, cell] of this.buttons) {
      setAttribute(cell, 'aria-sort', column === name ? (descending ? 'descending' : 'ascending') : null);
    }
  }

  // show shows rows. The scrolling position stays.
  show(rows) {
    this.#rows = rows;
    setAttribute(this.node, 'aria-rowcount', rows.length + 1);
    this.#draw();
  }

  // #plan draws once in the next frame, however often the table scrolls until then.
  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    requestAnimationFrame(() => {
      this.#planned = false;
      this.#draw();
    });
  }

  #draw() {
    const rows = this.#rows;
    if (!this.#height && !this.#measure()) return;
    const first = Math.max(0, Math.floor(this.node.scrollTop / this.#height) - spareRows);
    const wanted = Math.min(rows.length - first, Math.ceil(this.node.clientHeight / this.#height) + 2 * spareRows);
    this.body.style.height = `${rows.length * this.#height}px`;
    while (this.#pool.length < wanted) this.#add();
    this.#pool.forEach((line, i) => {
      line.node.hidden = i >= wanted;
      if (i < wanted) this.#fill(line, first + i);
    });
  }

  // #measure reads the height of a row, which is only known if the table is in sight.
  #measure() {
    if (!this.#rows.length) return false;
    if (!this.#pool.length) this.#add();
    this.#pool[0].node.hidden = false;
    this.#height = this.#pool[0].node.offsetHeight;
    return this.#height > 0;
  }

  #add() {
    const shape = mark('none');
    const cells = this.columns.map((column, i) => {
      const text = el('span', { class: 'text' });
      const cell = el('div', { role: 'cell', class: `cell ${column.name}${column.numeric ? ' numeric' : ''}`, 'data-title': column.title }, i === 0 && shape, text);
      return { cell, text };
    });
    const node = el('div', { role: 'row', class: 'row' }, ...cells.map(({ cell }) => cell));
    this.#pool.push({ node, shape, texts: cells.map(({ text }) => text) });
    this.body.append(node);
  }

  #fill(line, index) {
    const row = this.#rows[index];
    line.node.style.transform = `translateY(${index * this.#height}px)`;
    setAttribute(line.node, 'aria-rowindex', index + 2);
    setLevel(line.shape, this.level(row));
    this.columns.forEach((column, i) => setText(line.texts[i], column.text(row)));
  }
}
