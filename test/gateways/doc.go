// SPDX-License-Identifier: Apache-2.0

// Package gateways proves that the configurations for Istio and Envoy in
// docs/shared-balancer.md fit these projects' own APIs. No test runs Istio or Envoy.
//
// The APIs come from the modules that the two projects publish. The tests also compare
// the routes with those of HAProxy's configuration in the same document, which the
// end-to-end tests run.
//
// It has no other code, and no package imports it. It is a module of its own so that
// these APIs stay out of the product's modules.
package gateways
