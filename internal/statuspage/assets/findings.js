// SPDX-License-Identifier: Apache-2.0
//
// What is wrong, and what to do: a list made from the sidecar's state and its recent
// failures. The worst comes first.

import { advice, bytes, clock, count, isSet, plural, secondsBetween, sentence } from './format.js';
import { expiryOf } from './expiry.js';

// Failures that are older are no longer a finding. They stay in their section.
const recentSeconds = 300;

// Reasons for which the target or the app is the cause, and not the way to the target.
const causedByTarget = new Set(['refused', 'timeout', 'unreachable', 'cancelled']);

// findings returns what is wrong as {level, what, next}, with level bad or warn.
export function findings(state, failures) {
  const all = [
    ...phase(state),
    ...redirect(state.redirect ?? []),
    ...servers(state.servers ?? []),
    ...limits(state),
    ...recent(failures, state),
    ...certificates(state),
  ];
  return [...all.filter((f) => f.level === 'bad'), ...all.filter((f) => f.level === 'warn')];
}

// allWell returns the sentence for a state without findings.
export function allWell(state, failures) {
  const all = state.servers ?? [];
  const reached = all.length === 1 ? `the proxy-server ${all[0].name} is reachable` : `all ${all.length} proxy-servers are reachable`;
  const past = (failures?.failures ?? []).length
    ? `no connection has failed since ${clock(failures.failures[0].time, false)}`
    : 'no connection has failed';
  return `All well: the redirect works, ${reached}, and ${past}.`;
}

function* phase({ phase, open }) {
  if (phase === 'starting') yield { level: 'warn', what: 'The sidecar is starting: it does not listen yet.', next: 'Wait a moment.' };
  if (phase === 'draining') {
    yield {
      level: 'warn',
      what: `The sidecar is draining: it waits for ${plural(open, 'connection')} to end, and then ends itself.`,
      next: 'The kubelet starts the container again if the pod stays.',
    };
  }
}

function* redirect(probes) {
  for (const probe of probes) {
    if (!isSet(probe.checked) || probe.ok) continue;
    yield {
      level: 'bad',
      what: `Connections to ${probe.cidr || `${probe.family} addresses of the shoot`} do not reach the sidecar: ${sentence(probe.error)}`,
      next: advice(probe.next),
    };
  }
}

// certificates leaves out what a server that is down says already. An old CA beside one
// that is valid is no more than untidy.
function* certificates({ certificates, servers, now }) {
  const all = certificates ?? [];
  const down = new Set((servers ?? []).filter(({ up }) => !up).map(({ name }) => name));
  for (const certificate of all) {
    const { level, text, dated } = expiryOf(certificate, now);
    if (level === 'ok' || (certificate.role === 'server' && down.has(certificate.server))) continue;
    const beside = certificate.role === 'ca' && all.some((other) => other.role === 'ca' && other.file === certificate.file && expiryOf(other, now).level === 'ok');
    const owner = { ca: 'The CA certificate', client: 'The client certificate', server: 'The certificate of the proxy-server' }[certificate.role] ?? 'A certificate';
    const where = beside ? `${certificate.subject} in ${certificate.file}` : certificate.file || certificate.server || certificate.subject;
    yield {
      level: beside ? 'warn' : level,
      what: `${owner} ${where}${dated ? ` ${text}.` : `: ${sentence(certificate.problem)}`}`,
      next: certificate.file ? `${dated ? 'Renew' : 'Correct'} ${certificate.file}. The sidecar reads it again by itself.` : 'Renew it at the server.',
    };
  }
}

function* servers(all) {
  const down = all.filter((server) => !server.up);
  for (const server of down) {
    const cause = sentence(server.cause);
    yield {
      level: down.length === all.length ? 'bad' : 'warn',
      what: `The proxy-server ${server.name} cannot be used${cause ? `: ${cause}` : '.'}`,
      next: advice(server.next),
    };
  }
  for (const server of all) {
    if (!server.up) continue;
    for (const endpoint of server.endpoints ?? []) {
      if (endpoint.state === 'good') continue;
      const what = { suspect: 'answers slowly', aside: 'is set aside', unreachable: 'cannot be reached' }[endpoint.state] ?? `is ${endpoint.state}`;
      yield {
        level: 'warn',
        what: `The address ${endpoint.address} of ${server.name} ${what}${endpoint.error ? `: ${sentence(endpoint.error)}` : '.'}`,
        next: advice(endpoint.next) || 'Other addresses take its connections.',
      };
    }
  }
}

function* limits({ open, maxConnections, dialling, maxDials, heldBytes, totalBuffer }) {
  if (maxConnections > 0 && open >= maxConnections) {
    yield {
      level: 'bad',
      what: `All ${count(maxConnections)} connections are in use: new ones are reset.`,
      next: 'Find below who holds them, or raise --max-connections and the limit of open files.',
    };
  }
  if (maxDials > 0 && dialling >= maxDials) {
    yield {
      level: 'warn',
      what: `${count(dialling)} connections wait for their tunnel, which is as many as --max-dials allows.`,
      next: 'Look below for the destination that does not answer, or raise --max-dials.',
    };
  }
  if (totalBuffer > 0 && heldBytes > 0.95 * totalBuffer) {
    yield {
      level: 'bad',
      what: `The buffers are full: ${bytes(heldBytes)} of ${bytes(totalBuffer)} wait for apps or targets that read slowly.`,
      next: 'Sort the connections by what is held back, and look at the app that reads slowly. --total-buffer and the memory limit can be raised.',
    };
  }
}

// recent names what failed in the last minutes, the most frequent first. A server that is
// down is a finding already, and so are the failures that it causes.
function* recent(failures, { servers, now }) {
  const known = new Set((servers ?? []).filter(({ up }) => !up).map(({ name, reason }) => `${name} ${reason}`));
  const sums = new Map();
  for (const failure of failures?.failures ?? []) {
    if (secondsBetween(failure.time, now) > recentSeconds || known.has(`${failure.server} ${failure.reason}`)) continue;
    const kind = failure.kind === 'broken' ? `were broken with ${failure.reason}` : `failed with ${failure.reason}`;
    const sum = sums.get(kind) ?? { times: 0, last: failure, destinations: new Set() };
    sum.times += Math.max(1, failure.times ?? 1);
    sum.destinations.add(failure.destination);
    sums.set(kind, sum);
  }
  for (const [kind, { times, last, destinations }] of [...sums].sort((a, b) => b[1].times - a[1].times)) {
    const where = destinations.size === 1 ? `to ${last.destination || 'an unknown destination'}` : `to ${plural(destinations.size, 'destination')}, the last ${last.destination},`;
    yield {
      level: causedByTarget.has(last.reason) ? 'warn' : 'bad',
      what: `${plural(times, 'connection')} ${where} ${kind}, the last at ${clock(last.time)}: ${sentence(last.error)}`,
      next: advice(last.cure),
    };
  }
}
