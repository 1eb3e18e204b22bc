// SPDX-License-Identifier: Apache-2.0
//
// The proxy-servers and their addresses: state, load, dial time, and why one is tried last.

import { el, keyed, mark, setLevel, setText, show } from './dom.js';
import { advice, clock, isSet, plural, seconds, secondsBetween, sentence, span } from './format.js';

const modes = { grpc: 'gRPC', 'http-connect': 'HTTP CONNECT', 'https-proxy': 'HTTP CONNECT, as a standard proxy', 'h2-connect': 'HTTP/2 CONNECT, as a standard proxy' };

// words and levels of the states of an endpoint.
const states = {
  good: ['ok', 'good'],
  suspect: ['warn', 'connections wait for an answer'],
  aside: ['warn', 'failed, tried last'],
  unreachable: ['bad', 'unreachable'],
};

export class Servers {
  constructor(parent) {
    this.none = el('p', { class: 'empty' }, 'The list is empty.');
    this.list = el('div', { class: 'servers' });
    parent.append(this.none, this.list);
  }

  take({ servers, now }) {
    this.now = now;
    show(this.none, !(servers ?? []).length);
    keyed(this.list, servers ?? [], (s) => s.name, () => serverBox(() => this.now));
  }
}

function serverBox(now) {
  const shape = mark('none');
  const name = el('span', { class: 'address' });
  const word = el('span', { class: 'word' });
  const facts = el('p', { class: 'dim' });
  const cause = el('p', { class: 'error' });
  const next = el('span');
  const nextLine = el('p', { class: 'next' }, el('b', {}, 'What to do: '), next);
  const endpoints = el('tbody');
  const table = el('table', { class: 'endpoints' },
    el('thead', {}, el('tr', {}, ...['Address', 'State', 'Connections', 'Dial time'].map((title, i) => el('th', { scope: 'col', class: i > 1 ? 'numeric' : null }, title)))),
    endpoints);
  const node = el('article', {}, el('h3', {}, shape, name, word), facts, cause, nextLine, table);
  return {
    node,
    update(server) {
      const all = server.endpoints ?? [];
      setLevel(shape, server.up ? 'ok' : 'bad');
      setText(name, server.name);
      setText(word, server.up ? 'up' : 'down');
      const spoken = server.speaks ? `speaks ${modes[server.speaks] ?? server.speaks}` : 'has not answered yet';
      setText(facts, `${spoken}; --mode ${server.mode}; ${plural(all.length, 'address', 'addresses')}.`);
      setText(cause, sentence(server.cause));
      show(cause, Boolean(server.cause));
      setText(next, advice(server.next));
      show(nextLine, Boolean(server.next));
      show(table, all.length > 0);
      keyed(endpoints, all, (e) => e.address, () => endpointRow(now, server));
    },
  };
}

function endpointRow(now, server) {
  const shape = mark('none');
  const address = el('span', { class: 'address' });
  const word = el('span');
  const why = el('p', { class: 'error' });
  const next = el('p', { class: 'next' });
  const load = el('td', { class: 'numeric', 'data-title': 'Connections' });
  const dial = el('td', { class: 'numeric', 'data-title': 'Dial time' });
  const node = el('tr', {}, el('th', { scope: 'row' }, address), el('td', {}, el('span', { class: 'state' }, shape, word), why, next), load, dial);
  return {
    node,
    update(e) {
      const [level, text] = states[e.state] ?? ['none', e.state];
      setLevel(shape, level);
      setText(address, e.address);
      const left = isSet(e.until) ? secondsBetween(now(), e.until) : 0;
      setText(word, left > 0 ? `${text} for ${span(left)}, until ${clock(e.until)}` : text);
      // The server's cause says the same if this is its only address.
      const said = e.error && e.error === server.cause;
      const failures = e.failures > 1 ? ` ${plural(e.failures, 'failure')} in succession.` : '';
      setText(why, e.error && !said ? `${e.reason ? `${e.reason}: ` : ''}${sentence(e.error)}${failures}` : '');
      show(why, why.textContent !== '');
      setText(next, e.next && !said ? advice(e.next) : '');
      show(next, next.textContent !== '');
      setText(load, String(e.load ?? 0));
      setText(dial, e.dialSeconds > 0 ? seconds(e.dialSeconds) : '–');
    },
  };
}
