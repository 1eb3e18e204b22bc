// SPDX-License-Identifier: Apache-2.0
//
// Connections that were not made, or broken later: when, where to, why, and what to do.

import { el, keyed, setText, show } from './dom.js';
import { advice, clock, count, plural, secondsBetween, sentence, span } from './format.js';

// How many failures are shown before a person asks for the rest.
const shownAtFirst = 20;

export class Failures {
  #answer = null;
  #reason = '';
  #everything = false;

  constructor(parent) {
    this.none = el('p', { class: 'empty' }, 'No connection has failed since the sidecar started.');
    this.reasons = el('div', { class: 'chips', role: 'group', 'aria-label': 'Show one reason' });
    this.list = el('ol', { class: 'failures' });
    this.more = el('button', { type: 'button', onclick: () => this.#toggle() });
    parent.append(this.none, this.reasons, this.list, this.more);
    show(this.more, false);
  }

  take(answer) {
    this.#answer = answer;
    this.update();
  }

  update() {
    const { failures } = this.#answer;
    const all = failures ?? [];
    show(this.none, all.length === 0);
    const sums = new Map();
    for (const { reason, times } of all) sums.set(reason, (sums.get(reason) ?? 0) + Math.max(1, times ?? 1));
    if (!sums.has(this.#reason)) this.#reason = '';
    this.#showReasons(sums);
    const chosen = all.filter(({ reason }) => !this.#reason || reason === this.#reason);
    const shown = this.#everything ? chosen : chosen.slice(0, shownAtFirst);
    keyed(this.list, shown, (f) => `${f.first} ${f.kind} ${f.destination} ${f.reason}`, () => failureRow(() => this.#answer.now));
    show(this.more, chosen.length > shownAtFirst);
    setText(this.more, this.#everything ? 'Show fewer' : `Show all ${count(chosen.length)}`);
    show(this.list, shown.length > 0);
  }

  #showReasons(sums) {
    const chips = [...sums].sort((a, b) => b[1] - a[1]);
    show(this.reasons, chips.length > 1);
    keyed(this.reasons, chips, ([reason]) => reason, ([reason]) => {
      const node = el('button', { type: 'button', onclick: () => this.#choose(reason) });
      return {
        node,
        update: ([, times]) => {
          setText(node, `${reason} ${count(times)}`);
          node.setAttribute('aria-pressed', String(this.#reason === reason));
        },
      };
    });
  }

  #choose(reason) {
    this.#reason = this.#reason === reason ? '' : reason;
    this.update();
  }

  #toggle() {
    this.#everything = !this.#everything;
    this.update();
  }
}

function failureRow(now) {
  const time = el('time');
  const ago = el('span', { class: 'dim' });
  const destination = el('span', { class: 'address' });
  const reason = el('code', { class: 'reason' });
  const times = el('span', { class: 'dim' });
  const error = el('p', { class: 'error' });
  const cure = el('span');
  const cureLine = el('p', { class: 'next' }, el('b', {}, 'What to do: '), cure);
  const details = el('p', { class: 'dim details' });
  const node = el('li', {}, el('div', { class: 'when' }, time, ago), el('div', { class: 'headline' }, destination, reason, times), el('div', {}, error, cureLine, details));
  return {
    node,
    update(f) {
      time.dateTime = f.time;
      setText(time, clock(f.time));
      setText(ago, `${span(secondsBetween(f.time, now()))} ago`);
      setText(destination, f.destination || 'unknown destination');
      setText(reason, f.kind === 'broken' ? `${f.reason}, broken` : f.reason);
      setText(times, f.times > 1 ? `${plural(f.times, 'time')} since ${clock(f.first)}` : '');
      setText(error, sentence(f.error));
      setText(cure, advice(f.cure));
      show(cureLine, Boolean(f.cure));
      setText(details, [f.source && `from ${f.source}`, f.server && `through ${f.server}`, f.dialID && `dial id ${f.dialID}`, f.connectionID && `connection id ${f.connectionID}`].filter(Boolean).join(', '));
    },
  };
}
