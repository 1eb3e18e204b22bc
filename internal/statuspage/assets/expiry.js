// SPDX-License-Identifier: Apache-2.0
//
// How close a certificate is to its end.

import { isSet, secondsBetween, span } from './format.js';

// The sidecar's log warns at the same time: a week before the end, or in the last quarter
// of a shorter life.
const warnSeconds = 7 * 86400;
const warnPart = 4;

// expiryOf returns the level of a certificate, and a verb with its object: "expires in 3 d".
export function expiryOf({ notBefore, notAfter, problem }, now) {
  if (!isSet(notAfter)) return { level: problem ? 'bad' : 'ok', text: 'has no known expiry' };
  const left = secondsBetween(now, notAfter);
  const life = secondsBetween(notBefore, notAfter);
  if (left < 0) return { level: 'bad', text: `expired ${span(-left)} ago` };
  if (isSet(notBefore) && secondsBetween(now, notBefore) > 0) {
    return { level: 'bad', text: `is not valid before ${span(secondsBetween(now, notBefore))} from now: check the clocks` };
  }
  if (left < Math.min(warnSeconds, life / warnPart)) return { level: 'warn', text: `expires in ${span(left)}` };
  return { level: problem ? 'bad' : 'ok', text: `expires in ${span(left)}` };
}
