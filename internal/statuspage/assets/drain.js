// SPDX-License-Identifier: Apache-2.0
//
// The only part of the page that changes the sidecar.

import { el, setText, show } from './dom.js';
import { plural } from './format.js';

export class Drain {
  #open = 0;
  #timeout = '';
  #accepts = false;

  constructor(parent) {
    this.button = el('button', { type: 'button', class: 'danger', onclick: () => this.#ask() }, 'Drain this sidecar');
    this.result = el('p', { role: 'status' });
    this.what = el('p', { id: 'drain-what' });
    this.cancel = el('button', { type: 'button', onclick: () => this.dialog.close() }, 'Cancel');
    this.confirm = el('button', { type: 'button', class: 'danger', onclick: () => this.#drain() }, 'Drain now');
    this.dialog = el('dialog', { 'aria-labelledby': 'drain-question', 'aria-describedby': 'drain-what' },
      el('h2', { id: 'drain-question' }, 'Drain this sidecar?'), this.what,
      el('div', { class: 'buttons' }, this.cancel, this.confirm));
    parent.append(
      el('p', {}, 'A drain ends the sidecar as SIGTERM does: it takes no new connections, waits for the open ones, and ends. Use it to start the container again, for example with a new configuration in its environment.'),
      this.button, this.result, this.dialog);
  }

  takeState({ open, phase }) {
    this.#open = open;
    this.button.disabled = phase === 'draining';
    if (this.dialog.open) this.#describe();
  }

  takeConfiguration({ settings }) {
    const valueOf = (name) => (settings ?? []).find(({ flag }) => flag === name)?.values?.[0] ?? '';
    this.#timeout = valueOf('--drain-timeout');
    this.#accepts = valueOf('--accept-while-draining') === 'true';
  }

  #describe() {
    const limit = this.#timeout ? `${this.#timeout} (--drain-timeout)` : 'the time of --drain-timeout';
    const begin = this.#accepts ? 'The sidecar goes on taking connections (--accept-while-draining).' : 'The sidecar takes no new connections, so the app cannot reach the shoot.';
    setText(this.what, `${begin} What is open now, ${plural(this.#open, 'connection')}, has ${limit} to end, and is reset then. The process ends, and the kubelet starts the container again.`);
  }

  #ask() {
    this.#describe();
    setText(this.result, '');
    this.dialog.showModal();
    this.cancel.focus();
  }

  async #drain() {
    this.confirm.disabled = true;
    let text;
    try {
      const answer = await fetch('drain', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Drain-Token': await token() },
        body: '{}',
        signal: AbortSignal.timeout(5000),
      });
      text = answer.ok ? 'The drain has begun.' : `The sidecar refused the drain: ${(await answer.text()).trim()}`;
    } catch (error) {
      text = `The drain could not be asked for: ${error.message}`;
    }
    setText(this.result, text);
    show(this.result, true);
    this.confirm.disabled = false;
    this.dialog.close();
  }
}

// token returns the token of the sidecar that runs now. A restart of the sidecar makes a
// new one, so it is not taken from this page but from a new copy.
async function token() {
  const page = await (await fetch('./', { cache: 'no-store', signal: AbortSignal.timeout(5000) })).text();
  return page.match(/<meta name="drain-token" content="([^"]*)">/)?.[1] ?? '';
}
