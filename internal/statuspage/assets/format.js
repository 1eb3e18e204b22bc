// SPDX-License-Identifier: Apache-2.0
//
// Numbers, amounts and times as texts.

const grouped = new Intl.NumberFormat('en-US');

// count groups the digits of a whole number: 10,000.
export const count = (n) => grouped.format(n ?? 0);

// plural returns "1 dial", "2 dials".
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// bytes returns an amount with three digits at most: 1.25 MiB.
export function bytes(n) {
  n = n ?? 0;
  if (n < 1024) return `${Math.round(n)} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let unit = -1;
  do {
    n /= 1024;
    unit++;
  } while (n >= 1000 && unit < units.length - 1);
  return `${n < 10 ? n.toFixed(2) : n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

// rate returns an amount in each second.
export const rate = (n) => `${bytes(n)}/s`;

// seconds returns a short time, such as that of a dial: 850 µs, 12 ms, 1.5 s.
export function seconds(s) {
  if (!(s > 0)) return '0 s';
  if (s < 1e-3) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${s < 1e-2 ? (s * 1e3).toFixed(1) : Math.round(s * 1e3)} ms`;
  return s < 10 ? `${s.toFixed(1)} s` : span(s);
}

// span returns a longer time, with its two largest units: 3 d 4 h.
export function span(s) {
  s = Math.max(0, Math.floor(s));
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const at = units.findIndex(([, size]) => s >= size);
  if (at < 0) return '0 s';
  const [name, size] = units[at];
  const whole = Math.floor(s / size);
  const [smaller, smallerSize] = units[at + 1] ?? [];
  const rest = smaller ? Math.floor((s - whole * size) / smallerSize) : 0;
  if (name === 'd' && whole >= 730) return `${(whole / 365.25).toFixed(1)} years`;
  if (name === 'd' && whole >= 100) return `${whole} d`;
  return rest ? `${whole} ${name} ${rest} ${smaller}` : `${whole} ${name}`;
}

// isSet tells whether a time of the sidecar is set. Go's zero time is in the year 1.
export const isSet = (time) => Boolean(time) && !time.startsWith('0001-');

const twoDigits = (n) => String(n).padStart(2, '0');

// clock returns the time of the day: 21:05:09.
export function clock(time, withSeconds = true) {
  const d = new Date(time);
  const text = `${twoDigits(d.getHours())}:${twoDigits(d.getMinutes())}`;
  return withSeconds ? `${text}:${twoDigits(d.getSeconds())}` : text;
}

// day returns the date: 2026-11-28.
export function day(time) {
  const d = new Date(time);
  return `${d.getFullYear()}-${twoDigits(d.getMonth() + 1)}-${twoDigits(d.getDate())}`;
}

// moment returns date and time.
export const moment = (time) => `${day(time)} ${clock(time)}`;

// secondsBetween returns the time from one moment to another.
export const secondsBetween = (from, to) => (new Date(to) - new Date(from)) / 1000;

// sentence ends a text with a full stop.
export function sentence(text) {
  text = (text ?? '').trim();
  if (!text) return '';
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

// capital returns a text with a capital letter at its begin.
export const capital = (text) => text.replace(/^[a-z]/, (letter) => letter.toUpperCase());

// advice makes a sentence of what to do.
export const advice = (text) => capital(sentence(text));
