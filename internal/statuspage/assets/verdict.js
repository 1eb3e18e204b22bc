// SPDX-License-Identifier: Apache-2.0
//
// The first thing on the page: what is wrong and what to do, or that all is well. A screen
// reader reads each change aloud. So the text has times and no ages: it changes only if
// something happens.

import { el, keyed, mark, setAttribute, setLevel, setText, show } from './dom.js';
import { allWell, findings } from './findings.js';
import { clock, plural } from './format.js';

// How long the page says that the sidecar was started again.
const restartShownMilliseconds = 60e3;

export class Verdict {
  #state = null;
  #failures = null;

  constructor(section) {
    this.section = section;
    this.shape = mark('none');
    this.headline = el('p', { class: 'sentence' }, 'Waiting for the sidecar.');
    this.next = el('span');
    this.nextLine = el('p', { class: 'next', hidden: true }, el('b', {}, 'What to do: '), this.next);
    this.rest = section.querySelector('#findings');
    this.restart = section.querySelector('#restart');
    section.querySelector('#verdict-text').append(this.shape, el('div', {}, this.headline, this.nextLine));
    this.#show({ level: 'none', what: 'Waiting for the sidecar.' }, []);
  }

  takeState(state) {
    this.#state = state;
    if (this.restartedAt && Date.now() - this.restartedAt > restartShownMilliseconds) show(this.restart, false);
    this.#update();
  }

  takeFailures(failures) {
    this.#failures = failures;
    if (this.#state) this.#update();
  }

  // restarted says that another process answers now.
  restarted({ started }) {
    this.restartedAt = Date.now();
    this.#failures = null;
    setText(this.restart, `The sidecar was started again at ${clock(started)}: its counters and lists began anew.`);
    show(this.restart, true);
  }

  // noAnswer says that the page shows old answers.
  noAnswer({ since, last }) {
    this.#state = null;
    const what = last
      ? `The sidecar has not answered since ${clock(since)}. What is below is from ${clock(last)}.`
      : 'The sidecar does not answer.';
    this.#show({
      level: 'bad',
      what,
      next: 'If kubectl port-forward has ended, start it again. Otherwise look at the container with kubectl describe pod. This page goes on by itself once the sidecar answers.',
    }, []);
  }

  #update() {
    const [first, ...rest] = findings(this.#state, this.#failures);
    this.#show(first ?? { level: 'ok', what: allWell(this.#state, this.#failures) }, rest);
  }

  #show({ level, what, next }, rest) {
    setAttribute(this.section, 'data-level', level);
    setLevel(this.shape, level);
    setText(this.headline, what);
    setText(this.next, next ?? '');
    show(this.nextLine, Boolean(next));
    show(this.rest, rest.length > 0);
    keyed(this.rest, rest, (finding) => finding.what, findingRow);
    document.title = level === 'ok' || level === 'none' ? 'proxy-client' : `${plural(1 + rest.length, 'problem')}: proxy-client`;
  }
}

function findingRow() {
  const shape = mark('none');
  const what = el('p');
  const next = el('span');
  const nextLine = el('p', { class: 'next' }, el('b', {}, 'What to do: '), next);
  return {
    node: el('li', {}, shape, el('div', {}, what, nextLine)),
    update(finding) {
      setLevel(shape, finding.level);
      setText(what, finding.what);
      setText(next, finding.next ?? '');
      show(nextLine, Boolean(finding.next));
    },
  };
}
