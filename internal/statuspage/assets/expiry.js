// SPDX-License-Identifier: Apache-2.0
//
// How close a certificate is to its end.

import { isSet, secondsBetween, span } from './format.js';

// expiryOf returns the level of a certificate, and a verb with its object: "expires in 3 d".
// dated tells that the level comes from its dates, and not from another problem.
export function expiryOf({ notBefore, notAfter, due, problem }, now) {
  const other = problem ? 'bad' : 'ok';
  if (!isSet(notAfter)) return { level: other, text: 'has no known expiry', dated: false };
  const left = secondsBetween(now, notAfter);
  if (left < 0) return { level: 'bad', text: `expired ${span(-left)} ago`, dated: true };
  const early = isSet(notBefore) ? secondsBetween(now, notBefore) : 0;
  if (early > 0) return { level: 'bad', text: `is not valid for another ${span(early)}: check the clocks`, dated: true };
  const text = `expires in ${span(left)}`;
  if (due) return { level: 'warn', text, dated: true };
  return { level: other, text, dated: false };
}
