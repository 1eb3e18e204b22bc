// SPDX-License-Identifier: Apache-2.0

package proxystatus

import (
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// registered are the error types of RFC 9209, sections 2.3.1 to 2.3.32.
const registered = `dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited
destination_ip_unroutable connection_refused connection_terminated connection_timeout connection_read_timeout
connection_write_timeout connection_limit_reached tls_protocol_error tls_certificate_error tls_alert_received
http_request_error http_request_denied http_response_incomplete http_response_header_section_size
http_response_header_size http_response_body_size http_response_trailer_section_size http_response_trailer_size
http_response_transfer_coding http_response_content_coding http_response_timeout http_upgrade_failed
http_protocol_error proxy_internal_response proxy_internal_error proxy_configuration_error proxy_loop_detected`

// TestEveryErrorTypeHasAMeaning: each registered error type has one, by itself or by the
// status that it comes with, and no other has.
func TestEveryErrorTypeHasAMeaning(t *testing.T) {
	all := strings.Fields(registered)
	if len(all) != 32 {
		t.Errorf("%d types, want those of 32 sections", len(all))
	}
	for _, kind := range all {
		reason, _, known := Meaning(kind)
		if known != (kind != "proxy_internal_response") {
			t.Errorf("%s is known: %t", kind, known)
		}
		if known && !slices.Contains(tunnel.Reasons(), reason) {
			t.Errorf("%s means %q, which is no reason", kind, reason)
		}
	}
	for kind := range meanings {
		if !slices.Contains(all, kind) {
			t.Errorf("%s is no type of RFC 9209", kind)
		}
	}
}

// TestMeaningOfStatus: what a refusal means whose error type is not known.
func TestMeaningOfStatus(t *testing.T) {
	for status, want := range map[int]meaning{
		0: {tunnel.ReasonProtocol, tunnel.FaultRefusal}, 302: {tunnel.ReasonProtocol, tunnel.FaultRefusal}, 400: {tunnel.ReasonProtocol, tunnel.FaultRefusal},
		404: {tunnel.ReasonProtocol, tunnel.FaultRefusal}, 405: {tunnel.ReasonProtocol, tunnel.FaultRefusal}, 501: {tunnel.ReasonProtocol, tunnel.FaultRefusal},
		505: {tunnel.ReasonProtocol, tunnel.FaultRefusal}, 401: {tunnel.ReasonForbidden, tunnel.FaultRefusal}, 407: {tunnel.ReasonForbidden, tunnel.FaultRefusal},
		403: {tunnel.ReasonForbidden, tunnel.FaultTarget}, 408: {tunnel.ReasonOther, tunnel.FaultServer}, 425: {tunnel.ReasonOther, tunnel.FaultServer},
		429: {tunnel.ReasonMaxConnections, tunnel.FaultServer}, 500: {tunnel.ReasonOther, tunnel.FaultServer}, 502: {tunnel.ReasonUnreachable, tunnel.FaultTarget},
		503: {tunnel.ReasonUnreachable, tunnel.FaultTarget}, 504: {tunnel.ReasonTimeout, tunnel.FaultTarget}, 508: {tunnel.ReasonOther, tunnel.FaultServer},
	} {
		if reason, fault := MeaningOfStatus(status); reason != want.reason || fault != want.fault {
			t.Errorf("%d means %s, fault %d; want %s, fault %d", status, reason, fault, want.reason, want.fault)
		}
	}
}
