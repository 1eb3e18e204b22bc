// SPDX-License-Identifier: Apache-2.0

// Package monitoring checks what operators watch the product with: its metrics, and the
// rules and dashboards of the chart. Its peers are Debian's promtool and Prometheus, and
// the real /metrics of sidecar and webhook.
package monitoring
