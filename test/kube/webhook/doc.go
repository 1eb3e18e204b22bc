// SPDX-License-Identifier: Apache-2.0

// Package webhook tests the webhook as it is delivered: `webhook serve` with the
// rights, the configuration and the arguments that the chart gives it, asked by a
// real kube-apiserver.
//
// No node runs the chart's Deployment, so the webhook is a process of the test's, on
// loopback; for that, the MutatingWebhookConfiguration names a URL in place of the
// Service. All else of it is as the chart renders it. TestManagedCertificates goes
// without that: there a Service's address is one of loopback.
package webhook
