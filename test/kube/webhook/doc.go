// SPDX-License-Identifier: Apache-2.0

// Package webhook tests the webhook as it is delivered. `webhook serve` has the rights,
// the configuration and the arguments that the chart gives it. A real kube-apiserver
// calls it.
//
// No node runs the chart's Deployment, so the webhook is a process of the test's, on
// loopback. For that, the MutatingWebhookConfiguration names a URL in place of the
// Service. Everything else in it is as the chart renders it. TestManagedCertificates does
// not need that: its Services have addresses of loopback.
package webhook
