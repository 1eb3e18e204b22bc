// SPDX-License-Identifier: Apache-2.0
//
// Brings the sidecar's documents to the parts of the page.

import { Certificates, Redirect } from './health.js';
import { Configuration } from './configuration.js';
import { Connections } from './connections.js';
import { Drain } from './drain.js';
import { Failures } from './failures.js';
import { Figures } from './figures.js';
import { History } from './history.js';
import { Poller } from './poll.js';
import { Servers } from './servers.js';
import { Exits } from './exits.js';
import { Verdict } from './verdict.js';
import { setText } from './dom.js';
import { clock, secondsBetween, span } from './format.js';

const byId = (id) => document.getElementById(id);

const parts = {
  verdict: new Verdict(byId('verdict')),
  figures: new Figures(byId('figures')),
  servers: new Servers(byId('servers-content')),
  exits: new Exits(byId('servers-content')),
  failures: new Failures(byId('failures-content')),
  connections: new Connections(byId('connections-content')),
  history: new History(byId('history-content')),
  redirect: new Redirect(byId('redirect-content')),
  certificates: new Certificates(byId('certificates-content')),
  configuration: new Configuration(byId('configuration-content')),
  drain: new Drain(byId('drain-content')),
};

// The instance whose answers are shown, when its last answer came, and since when it has
// not answered.
let instance = '';
let answered = 0;
let silentSince = 0;
let paused = false;
let openConnections = 0;

// connectionsInSight tells whether a person can see the list of connections, or nearly.
let connectionsInSight = false;
const observer = new IntersectionObserver((entries) => {
  connectionsInSight = entries.at(-1).isIntersecting;
  if (connectionsInSight && isRunning()) pollers.connections.start();
}, { rootMargin: '400px' });

// The list of connections is long if there are many, so it is asked for less often, and
// only if it can be seen.
const connectionsInterval = () => 1000 + Math.floor(openConnections / 2500) * 1000;

const pollers = {
  state: new Poller({ path: 'state', interval: () => 1000, take: takeState, fail: noAnswer }),
  failures: new Poller({ path: 'failures', interval: () => 2000, take: takeFailures }),
  history: new Poller({ path: 'history', interval: () => 5000, take: takeHistory }),
  connections: new Poller({ path: 'connections', interval: connectionsInterval, take: takeConnections, needed: () => connectionsInSight }),
};

// takeConfiguration comes once for each instance: a sidecar's configuration never changes.
const configuration = new Poller({
  path: 'configuration',
  interval: () => 2000,
  take: (answer) => {
    configuration.stop();
    parts.configuration.take(answer);
    parts.drain.takeConfiguration(answer);
    setText(byId('instance'), answer.version);
  },
});

function takeState(state) {
  answered = Date.now();
  silentSince = 0;
  document.body.classList.remove('stale');
  openConnections = state.open;
  if (state.instance !== instance) {
    if (instance) parts.verdict.restarted(state);
    instance = state.instance;
    configuration.start();
  }
  parts.verdict.takeState(state);
  parts.figures.takeState(state);
  parts.servers.take(state);
  parts.exits.take(state);
  parts.redirect.take(state);
  parts.certificates.take(state);
  parts.drain.takeState(state);
  showFreshness(state);
}

function takeFailures(failures) {
  parts.failures.take(failures);
  parts.verdict.takeFailures(failures);
}

function takeHistory(history) {
  parts.history.take(history);
  parts.figures.takeHistory(history);
}

function takeConnections(connections) {
  parts.connections.take(connections);
}

function showFreshness({ now, started, phase }) {
  setText(byId('freshness'), `${phase}, up for ${span(secondsBetween(started, now))}, as of ${clock(now)}`);
}

// noAnswer shows that what is on the page is old.
function noAnswer() {
  document.body.classList.add('stale');
  silentSince ||= Date.now();
  const silent = (Date.now() - silentSince) / 1000;
  parts.verdict.noAnswer({ since: silentSince, last: answered });
  setText(byId('freshness'), answered ? `no answer for ${span(silent)}` : 'no answer yet');
}

// A page in the background asks nothing.
const isRunning = () => !paused && document.visibilityState === 'visible';

// run starts or stops all pollers.
function run() {
  for (const poller of [configuration, ...Object.values(pollers)]) {
    if (isRunning()) poller.start();
    else poller.stop();
  }
}

const pause = byId('pause');
pause.addEventListener('click', () => {
  paused = !paused;
  setText(pause, paused ? 'Go on' : 'Pause');
  if (paused) setText(byId('freshness'), `paused at ${clock(Date.now())}`);
  run();
});
document.addEventListener('visibilitychange', run);
observer.observe(byId('connections'));
run();
