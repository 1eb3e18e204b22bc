// SPDX-License-Identifier: Apache-2.0
//
// What is wrong, and what to do: a list made from the sidecar's state and its recent
// failures. The worst comes first.

import { advice, bytes, capital, clock, count, isSet, plural, secondsBetween, sentence } from './format.js';
import { exitFindings } from './exits.js';
import { expiryOf } from './expiry.js';

// Failures that are older are no longer a finding. They stay in their section.
const recentSeconds = 300;

// A failure of a server or its agent is over if a dial was answered this long after it. If
// one of several agents hangs, answers and failures alternate.
const overSeconds = 10;

// Reasons that are over once there is a new connection to the server.
const aboutReaching = new Set(['server_unreachable', 'tls', 'protocol']);

// Reasons for which the target or the app is the cause, and not the way to the target.
const causedByTarget = new Set(['refused', 'timeout', 'unreachable', 'forbidden', 'cancelled']);

// findings returns what is wrong as {level, what, next}, with level bad or warn.
export function findings(state, failures) {
  const known = state.servers ?? [];
  const failed = recent(failures, state);
  const paths = failed.filter(ofPath);
  const all = [
    ...phase(state),
    ...redirect(state.redirect ?? []),
    ...servers(known, paths),
    ...unserved(paths, known),
    ...exitFindings(state.exits),
    ...limits(state),
    ...others(failed.filter((failure) => !ofPath(failure)), known),
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
    const beside = ['ca', 'exit_ca'].includes(certificate.role) && all.some((other) => other.role === certificate.role && other.file === certificate.file && expiryOf(other, now).level === 'ok');
    const owner = { ca: 'The CA certificate', client: 'The client certificate', server: 'The certificate of the proxy-server', exit_ca: 'The CA certificate of exits', exit_client: 'The client certificate for exits', exit: 'The certificate of the exit' }[certificate.role] ?? 'A certificate';
    const where = beside ? `${certificate.subject} in ${certificate.file}` : certificate.file || certificate.server || certificate.exit || certificate.subject;
    yield {
      level: beside ? 'warn' : level,
      what: `${owner} ${where}${dated ? ` ${text}.` : `: ${sentence(certificate.problem)}`}`,
      next: certificate.file ? `${dated ? 'Renew' : 'Correct'} ${certificate.file}. The sidecar reads it again by itself.` : `Renew it at the ${certificate.exit ? 'exit' : 'server'}.`,
    };
  }
}

// servers names what is wrong with servers and their addresses. What paths says of a server
// is not said again.
function* servers(all, paths) {
  const down = all.filter((server) => !server.up);
  for (const server of down) {
    const cause = sentence(server.cause);
    yield {
      level: down.length === all.length ? 'bad' : 'warn',
      what: `The proxy-server ${server.name} cannot be used${cause ? `: ${cause}` : '.'}`,
      next: advice(server.next),
    };
  }
  const up = all.filter((server) => server.up);
  const served = up.some(({ endpoints }) => (endpoints ?? []).some((endpoint) => mayServe(endpoint) || gaveUp(endpoint)));
  const several = all.length > 1 || (up[0]?.endpoints ?? []).length > 1;
  for (const server of up) {
    const endpoints = server.endpoints ?? [];
    if (paths.some(({ server: failed }) => failed === server.name) && !endpoints.some(mayServe)) continue;
    for (const endpoint of endpoints) {
      if (endpoint.state === 'good' || gaveUp(endpoint)) continue;
      const name = endpoints.length === 1 ? `the proxy-server ${server.name}` : `the address ${endpoint.address} of ${server.name}`;
      if (endpoint.state === 'suspect') {
        yield {
          level: 'warn',
          what: `Connections through ${name} have waited for an answer for more than a second.`,
          next: several ? 'New ones take another address.' : 'Wait some seconds: what they fail with says whether the agent or the target is the cause.',
        };
        continue;
      }
      const is = { timeout: `${name} or its agent does not answer`, no_agent: `${name} has no agent` }[endpoint.reason]
        ?? `${name} ${endpoint.state === 'unreachable' ? 'cannot be reached' : 'did not serve the last connections'}${endpoint.error ? `: ${endpoint.error}` : ''}`;
      yield {
        level: served ? 'warn' : 'bad',
        what: served ? capital(sentence(is)) : `No connection can be made: ${sentence(is)}`,
        next: advice(endpoint.next) || (several ? 'Other addresses take its connections.' : ''),
      };
    }
  }
}

const mayServe = ({ state }) => state === 'good' || state === 'suspect';

// gaveUp tells that apps did not wait for the answer of an address. The target may be the
// cause as well.
const gaveUp = ({ state, reason }) => state === 'aside' && reason === 'cancelled';

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

// recent returns the failures of the last minutes that nothing else explains. A server
// that is down explains what failed through it. It does not explain what its agent said of
// a target, or what the sidecar lacks.
function recent(failures, { servers, now }) {
  const down = new Set((servers ?? []).filter(({ up }) => !up).map(({ name }) => name));
  return (failures?.failures ?? []).filter((failure) => secondsBetween(failure.time, now) <= recentSeconds
    && !(down.has(failure.server) && (failure.fault === 'server' || failure.reason === 'cancelled'))
    && !(failure.kind !== 'broken' && isOver(failure, servers ?? [])));
}

// isOver tells whether a server and its agent have served again since a failure. Another
// server does as well: a dial fails only if none serves it.
function isOver({ fault, server, reason, time }, servers) {
  if (fault !== 'server') return false;
  if (lastAnswer(servers) - new Date(time) > overSeconds * 1000) return true;
  const up = servers.find(({ name }) => name === server)?.endpoints ?? [];
  return aboutReaching.has(reason) && latest(up.map(({ upSince }) => upSince)) > new Date(time);
}

const lastAnswer = (servers) => latest(servers.flatMap(({ endpoints }) => (endpoints ?? []).map(({ answered }) => answered)));

// latest returns the last of some times in milliseconds, -Infinity if none is set.
const latest = (times) => Math.max(...times.filter(isSet).map((time) => new Date(time).getTime()));

// ofPath tells whether no answer about the target came back: no agent, or silence.
const ofPath = ({ kind, fault, reason }) => kind !== 'broken' && fault === 'server' && (reason === 'no_agent' || reason === 'timeout');

// unserved names the servers that have no agent, or that do not answer.
function* unserved(paths, servers) {
  const answered = lastAnswer(servers);
  for (const reason of ['no_agent', 'timeout']) {
    const all = paths.filter((failure) => failure.reason === reason);
    if (!all.length) continue;
    const last = all.reduce((a, b) => (new Date(a.time) > new Date(b.time) ? a : b));
    // Another dial may have been answered after this one began.
    const none = new Date(last.time) - (last.dialSeconds ?? 0) * 1000 > answered;
    const names = [...new Set(all.map(({ server }) => server))].sort();
    const one = names.length === 1;
    const who = `the proxy-server${one ? '' : 's'} ${names.join(' and ')}`;
    const is = reason === 'no_agent' ? `${who} ${one ? 'has' : 'have'} no agent` : `${who} or ${one ? 'its agent does' : 'their agents do'} not answer`;
    yield {
      level: 'bad',
      what: `${none ? 'No connection can be made' : 'Some connections cannot be made'}: ${is}. ${plural(sumOf(all), 'connection')} failed, the last at ${clock(last.time)}.`,
      next: advice(last.cure),
    };
  }
}

const sumOf = (failures) => failures.reduce((sum, { times }) => sum + Math.max(1, times ?? 1), 0);

// others names what else failed, the most frequent first.
function* others(failures, servers) {
  const kinds = new Map();
  for (const failure of failures) {
    const kind = failure.kind === 'broken' ? `were broken with ${failure.reason}` : `failed with ${failure.reason}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), failure]);
  }
  for (const [kind, all] of [...kinds].sort((a, b) => sumOf(b[1]) - sumOf(a[1]))) {
    const [last] = all;
    const destinations = new Set(all.map(({ destination }) => destination));
    const where = destinations.size === 1 ? `to ${last.destination || 'an unknown destination'}` : `to ${plural(destinations.size, 'destination')}, the last ${last.destination},`;
    yield {
      level: causedByTarget.has(last.reason) || isOver(last, servers) ? 'warn' : 'bad',
      what: `${plural(sumOf(all), 'connection')} ${where} ${kind}, the last at ${clock(last.time)}: ${sentence(last.error)}`,
      next: advice(last.cure),
    };
  }
}
