// SPDX-License-Identifier: Apache-2.0
//
// The numbers that matter most, with their limits.

import { el, setText } from './dom.js';
import { bytes, count, rate, span } from './format.js';

export class Figures {
  constructor(list) {
    const add = (title, bounded) => {
      const figure = { value: el('b', {}, '–'), limit: el('span', { class: 'dim' }), fill: el('i') };
      const meter = bounded && el('span', { class: 'meter', 'aria-hidden': 'true' }, figure.fill);
      list.append(el('div', {}, el('dt', {}, title), el('dd', {}, figure.value, ' ', figure.limit, meter)));
      return figure;
    };
    this.open = add('Open connections', true);
    this.dialling = add('Dialling', true);
    this.received = add('From the shoot', false);
    this.sent = add('To the shoot', false);
    this.held = add('Held back', true);
  }

  takeState({ open, maxConnections, dialling, maxDials, heldBytes, totalBuffer }) {
    bounded(this.open, open, maxConnections, count);
    bounded(this.dialling, dialling, maxDials, count);
    bounded(this.held, heldBytes, totalBuffer, bytes);
  }

  takeHistory({ points, intervalSeconds }) {
    const last = (points ?? []).at(-1);
    for (const [figure, value] of [[this.received, last?.receivedBytes], [this.sent, last?.sentBytes]]) {
      setText(figure.value, rate(value ?? 0));
      setText(figure.limit, last ? `over ${span(intervalSeconds)}` : '');
    }
  }
}

function bounded({ value, limit, fill }, now, most, format) {
  setText(value, format(now));
  setText(limit, most > 0 ? `of ${format(most)}` : '');
  fill.style.width = most > 0 ? `${Math.min(100, (100 * now) / most)}%` : '0';
}
