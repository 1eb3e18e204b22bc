// SPDX-License-Identifier: Apache-2.0
//
// The exits, if some are configured: whether they answer, their tunnels, and why one is down.

import { el, keyed, mark, setLevel, setText, show } from './dom.js';
import { advice, plural, sentence } from './format.js';

export class Exits {
  constructor(parent) {
    this.list = el('div', { class: 'servers' });
    parent.append(this.list);
  }

  take({ exits }) {
    show(this.list, Boolean(exits));
    keyed(this.list, exits?.exits ?? [], (e) => e.name, exitBox);
  }
}

function exitBox() {
  const shape = mark('none');
  const name = el('span', { class: 'address' });
  const word = el('span', { class: 'word' });
  const facts = el('p', { class: 'dim' });
  const cause = el('p', { class: 'error' });
  const next = el('span');
  const nextLine = el('p', { class: 'next' }, el('b', {}, 'What to do: '), next);
  const node = el('article', {}, el('h3', {}, shape, name, word), facts, cause, nextLine);
  return {
    node,
    update(exit) {
      const tunnels = exit.tunnels ?? [];
      const load = tunnels.reduce((sum, t) => sum + t.load, 0);
      setLevel(shape, exit.up ? 'ok' : 'bad');
      setText(name, exit.name);
      setText(word, exit.up ? 'up' : 'down');
      setText(facts, `An exit; ${plural(tunnels.length, 'tunnel')} with ${plural(load, 'connection')}.`);
      setText(cause, sentence(exit.cause));
      show(cause, Boolean(exit.cause));
      setText(next, advice(exit.next));
      show(nextLine, Boolean(exit.next));
    },
  };
}

// exitFindings says what becomes of connections while no exit answers.
export function* exitFindings(exits) {
  if (!exits || exits.answers) return;
  const failed = (exits.exits ?? []).find(({ cause }) => cause);
  if (!failed) return; // the first attempt is under way
  yield {
    level: exits.required ? 'bad' : 'warn',
    what: `No exit answers, so new connections ${exits.required ? 'fail' : 'go to their targets without one'}: ${sentence(failed.cause)}`,
    next: advice(failed.next),
  };
}
