// SPDX-License-Identifier: Apache-2.0
//
// Plots of the last 15 minutes.

import { bytes, count, rate, seconds } from './format.js';
import { Plot } from './plot.js';

const shownSeconds = 900;

export class History {
  constructor(parent) {
    this.plots = [
      new Plot({
        title: 'Throughput', binary: true, least: 1024, format: rate,
        lines: [{ title: 'From the shoot', value: (p) => p.receivedBytes }, { title: 'To the shoot', value: (p) => p.sentBytes }],
      }),
      new Plot({
        title: 'Dials', least: 3, format: (n) => count(Math.round(n)),
        lines: [{ title: 'Made', value: (p) => p.dials }, { title: 'Failed', value: (p) => p.failed }],
      }),
      new Plot({
        title: 'Dial time', least: 0.001, format: seconds,
        lines: [{ title: 'Median', value: (p) => (p.dials ? p.dialP50 : null) }, { title: '99th percentile', value: (p) => (p.dials ? p.dialP99 : null) }],
      }),
      new Plot({
        title: 'Held back', binary: true, least: 1024, format: bytes,
        lines: [{ title: 'For apps and targets', value: (p) => p.heldBytes }],
      }),
    ];
    parent.classList.add('plots');
    parent.append(...this.plots.map(({ node }) => node));
  }

  take({ points, now }) {
    for (const plot of this.plots) plot.show(points ?? [], now, shownSeconds);
  }
}
