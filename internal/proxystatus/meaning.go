// SPDX-License-Identifier: Apache-2.0

package proxystatus

import (
	"net/http"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// meaning is what an answer says of a dial.
type meaning struct {
	reason tunnel.Reason
	fault  tunnel.Fault
}

// What many answers mean.
var (
	unreachable = meaning{tunnel.ReasonUnreachable, tunnel.FaultTarget}
	silent      = meaning{tunnel.ReasonTimeout, tunnel.FaultTarget}
	forbidden   = meaning{tunnel.ReasonForbidden, tunnel.FaultTarget}
	// broken is a proxy that could not do its work, or whose own next proxy could not.
	broken = meaning{tunnel.ReasonOther, tunnel.FaultServer}
)

// meanings has the error types of RFC 9209, section 2.3, in its order. One is left out:
// proxy_internal_response says only who has made the answer, so the status decides.
var meanings = map[string]meaning{
	"dns_timeout":                        unreachable,
	"dns_error":                          unreachable,
	"destination_not_found":              unreachable,
	"destination_unavailable":            unreachable,
	"destination_ip_prohibited":          forbidden,
	"destination_ip_unroutable":          unreachable,
	"connection_refused":                 {tunnel.ReasonRefused, tunnel.FaultTarget},
	"connection_terminated":              {tunnel.ReasonRefused, tunnel.FaultTarget},
	"connection_timeout":                 silent,
	"connection_read_timeout":            silent,
	"connection_write_timeout":           silent,
	"connection_limit_reached":           {tunnel.ReasonMaxConnections, tunnel.FaultServer},
	"tls_protocol_error":                 broken,
	"tls_certificate_error":              broken,
	"tls_alert_received":                 broken,
	"http_request_error":                 {tunnel.ReasonOther, tunnel.FaultTarget},
	"http_request_denied":                forbidden,
	"http_response_incomplete":           broken,
	"http_response_header_section_size":  broken,
	"http_response_header_size":          broken,
	"http_response_body_size":            broken,
	"http_response_trailer_section_size": broken,
	"http_response_trailer_size":         broken,
	"http_response_transfer_coding":      broken,
	"http_response_content_coding":       broken,
	"http_response_timeout":              silent,
	"http_upgrade_failed":                broken,
	"http_protocol_error":                broken,
	"proxy_internal_error":               broken,
	"proxy_configuration_error":          broken,
	"proxy_loop_detected":                broken,
}

// Meaning returns what the type of an error says of a dial, if that is known.
func Meaning(failure string) (tunnel.Reason, tunnel.Fault, bool) {
	is, ok := meanings[failure]
	return is.reason, is.fault, ok
}

// MeaningOfStatus returns what the status of a refusal says of a dial by RFC 9110, section
// 15, if nothing more is known.
func MeaningOfStatus(status int) (tunnel.Reason, tunnel.Fault) {
	is := byStatus(status)
	return is.reason, is.fault
}

func byStatus(status int) meaning {
	switch {
	case status == http.StatusForbidden:
		return forbidden
	case WantsPassword(status):
		return meaning{tunnel.ReasonForbidden, tunnel.FaultRefusal}
	case status == http.StatusTooManyRequests:
		return meaning{tunnel.ReasonMaxConnections, tunnel.FaultServer}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return broken
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported, status < http.StatusInternalServerError:
		return meaning{tunnel.ReasonProtocol, tunnel.FaultRefusal} // it accepts no CONNECT
	case status == http.StatusGatewayTimeout:
		return silent
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable:
		return unreachable
	default:
		return broken
	}
}

// WantsPassword reports whether a status asks for a password, or for another client
// certificate.
func WantsPassword(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusProxyAuthRequired
}
