// SPDX-License-Identifier: Apache-2.0
//
// The redirect's probes, and the certificates as a timeline.

import { el, keyed, mark, setAttribute, setLevel, setText, show } from './dom.js';
import { expiryOf } from './expiry.js';
import { advice, day, isSet, moment, plural, secondsBetween, sentence, span } from './format.js';

export class Redirect {
  constructor(parent) {
    this.none = el('p', { class: 'empty' }, 'There was no probe yet.');
    this.summary = el('p', { class: 'dim' });
    this.list = el('ul', { class: 'probes' });
    parent.append(this.none, this.summary, this.list);
  }

  take({ redirect, now }) {
    this.now = now;
    const all = redirect ?? [];
    const checked = all.filter((p) => isSet(p.checked));
    show(this.none, !all.length);
    show(this.list, all.length > 0);
    show(this.summary, checked.length > 0);
    if (checked.length) {
      const last = checked.reduce((a, b) => (a.checked > b.checked ? a : b)).checked;
      const passed = checked.filter(({ ok }) => ok).length;
      setText(this.summary, `${passed} of ${plural(all.length, 'probe')} succeeded, the last ${span(secondsBetween(last, now))} ago.`);
    }
    keyed(this.list, all, (p) => `${p.family} ${p.cidr ?? ''} ${p.target}`, () => probeRow(() => this.now));
  }
}

function probeRow(now) {
  const shape = mark('none');
  const what = el('span', { class: 'address' });
  const word = el('span', { class: 'word' });
  const facts = el('span', { class: 'dim' });
  const error = el('p', { class: 'error' });
  const next = el('span');
  const nextLine = el('p', { class: 'next' }, el('b', {}, 'What to do: '), next);
  const node = el('li', {}, el('p', { class: 'headline' }, shape, what, word, facts), error, nextLine);
  return {
    node,
    update(probe) {
      const checked = isSet(probe.checked);
      setLevel(shape, !checked ? 'none' : probe.ok ? 'ok' : 'bad');
      setText(what, probe.cidr || probe.family);
      setText(word, !checked ? 'not checked yet' : probe.ok ? 'is redirected' : 'is not redirected');
      node.className = checked && probe.ok ? '' : 'wide';
      setText(facts, checked && !probe.ok ? `probe of ${probe.target}, ${span(secondsBetween(probe.checked, now()))} ago` : '');
      setText(error, sentence(probe.error));
      show(error, Boolean(probe.error));
      setText(next, advice(probe.next));
      show(nextLine, Boolean(probe.next));
    },
  };
}

// The timeline's scale is logarithmic on both sides of now: an hour and ten years both
// have a place. The past takes the left quarter.
const hour = 3600;
const longest = 10 * 365 * 86400;
const nowAt = 25;
const marks = [
  { seconds: -365 * 86400, text: '1 year ago' },
  { seconds: 0, text: 'now' },
  { seconds: 86400, text: '1 day' },
  { seconds: 7 * 86400, text: '1 week' },
  { seconds: 60 * 86400, text: '60 days' },
  { seconds: 365 * 86400, text: '1 year' },
  { seconds: longest, text: '10 years' },
];

// place returns the place of a moment on the timeline, in percent of its width.
export function place(seconds) {
  const part = Math.min(1, Math.log1p(Math.abs(seconds) / hour) / Math.log1p(longest / hour));
  return seconds < 0 ? nowAt - part * nowAt : nowAt + part * (100 - nowAt);
}

const roles = { ca: 'CA', client: 'client', server: 'server', exit_ca: 'CA of exits', exit_client: 'client of exits', exit: 'exit' };

export class Certificates {
  constructor(parent) {
    this.none = el('p', { class: 'empty' }, 'No certificate is in use: the proxy-server is a Unix socket, or no file was read yet.');
    this.list = el('ul', { class: 'certificates' });
    this.scale = el('div', { class: 'scale', 'aria-hidden': 'true' }, ...marks.map(({ seconds, text }) => {
      const node = el('span', { class: seconds ? null : 'now' }, text);
      node.style.left = `${place(seconds)}%`;
      return node;
    }));
    parent.append(this.none, this.scale, this.list);
  }

  take({ certificates, now }) {
    this.now = now;
    const all = certificates ?? [];
    show(this.none, !all.length);
    show(this.scale, all.length > 0);
    show(this.list, all.length > 0);
    keyed(this.list, all, (c) => `${c.role} ${c.file ?? ''} ${c.server ?? ''} ${c.exit ?? ''} ${c.address ?? ''} ${c.subject} ${c.notBefore}`, () => certificateRow(() => this.now));
  }
}

function certificateRow(now) {
  const shape = mark('none');
  const role = el('span', { class: 'role' });
  const subject = el('span', { class: 'address' });
  const word = el('span', { class: 'word' });
  const bar = el('div', { class: 'bar-life' });
  const line = el('div', { class: 'lifeline', 'aria-hidden': 'true' }, bar);
  line.append(nowLine());
  const facts = el('p', { class: 'dim' });
  const problem = el('p', { class: 'error' });
  const node = el('li', {}, el('p', { class: 'headline' }, shape, role, subject, word), line, facts, problem);
  return {
    node,
    update(c) {
      const { level, text } = expiryOf(c, now());
      setLevel(shape, level);
      setText(role, roles[c.role] ?? c.role);
      setText(subject, c.file || c.exit || [c.server, c.address].filter(Boolean).join(' at ') || c.subject);
      setText(word, text);
      const from = isSet(c.notBefore) ? place(secondsBetween(now(), c.notBefore)) : 0;
      const to = isSet(c.notAfter) ? place(secondsBetween(now(), c.notAfter)) : 100;
      bar.style.left = `${from}%`;
      bar.style.width = `${Math.max(0.5, to - from)}%`;
      setAttribute(bar, 'data-level', level);
      const names = (c.names ?? []).length ? `, for ${c.names.join(', ')}` : '';
      const valid = isSet(c.notBefore) && isSet(c.notAfter) ? `, valid from ${day(c.notBefore)} to ${moment(c.notAfter)}` : '';
      setText(facts, `${c.subject}${names}, signed by ${c.issuer}${valid}.`);
      setText(problem, sentence(c.problem));
      show(problem, Boolean(c.problem));
    },
  };
}

function nowLine() {
  const node = el('div', { class: 'now-line' });
  node.style.left = `${nowAt}%`;
  return node;
}
