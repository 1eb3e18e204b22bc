// SPDX-License-Identifier: Apache-2.0
//
// Every flag with its value and where the value comes from.

import { el, keyed, setText, show } from './dom.js';
import { count } from './format.js';

export class Configuration {
  #settings = [];

  constructor(parent) {
    this.rows = el('tbody');
    this.table = el('table', { class: 'settings' },
      el('thead', {}, el('tr', {}, ...['Flag', 'Value', 'From'].map((title) => el('th', { scope: 'col' }, title)))),
      this.rows);
    this.everything = el('input', { type: 'checkbox', id: 'defaults', onchange: () => this.update() });
    this.label = el('span');
    parent.append(el('div', { class: 'tools' }, el('label', {}, this.everything, ' ', this.label)), this.table);
    show(this.table, false);
  }

  take({ settings }) {
    this.#settings = settings ?? [];
    this.update();
  }

  update() {
    const told = (s) => s.source !== 'default' || s.effective;
    const shown = this.everything.checked ? this.#settings : this.#settings.filter(told);
    setText(this.label, `Show the ${count(this.#settings.filter((s) => !told(s)).length)} flags with their default too`);
    show(this.table, shown.length > 0);
    keyed(this.rows, shown, (s) => s.flag, settingRow);
  }
}

function settingRow() {
  const flag = el('code');
  const values = el('ul', { class: 'values' });
  const effective = el('p', { class: 'effective' });
  const source = el('td', { class: 'source' });
  return {
    node: el('tr', {}, el('th', { scope: 'row' }, flag), el('td', {}, values, effective), source),
    update(s) {
      setText(flag, s.flag);
      const all = (s.values ?? []).length ? s.values : s.effective ? [] : ['not set'];
      keyed(values, all, (value) => value, (value) => ({ node: el('li', { class: value === 'not set' ? 'dim' : null }, value), update() {} }));
      show(values, all.length > 0);
      setText(effective, s.effective ? `${all.length ? 'in use: ' : ''}${s.effective}${s.why ? ` (${s.why})` : ''}` : '');
      show(effective, Boolean(s.effective));
      setText(source, s.source === 'environment' ? `variable ${s.variable}` : s.source);
    },
  };
}
