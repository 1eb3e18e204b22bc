// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

// ProxyError says in one word why a stream was refused. It is the parameter error of
// Proxy-Status (RFC 9209 2.3), and a label of a metric.
type ProxyError string

// The errors of RFC 9209 that the exit uses.
const (
	ErrorConnectionRefused      ProxyError = "connection_refused"        // the target refused the connection
	ErrorConnectionTimeout      ProxyError = "connection_timeout"        // the target did not answer in time
	ErrorDestinationUnavailable ProxyError = "destination_unavailable"   // there is no route to the target
	ErrorIPProhibited           ProxyError = "destination_ip_prohibited" // the policy does not allow the address
	ErrorDNS                    ProxyError = "dns_error"                 // the name was not resolved
	ErrorLimitReached           ProxyError = "connection_limit_reached"  // a bound of the exit, or of the client
	ErrorDenied                 ProxyError = "http_request_denied"       // the client has no rights, or none to the name or the port
	ErrorRequest                ProxyError = "http_request_error"        // the request is not a CONNECT to host:port
	ErrorInternal               ProxyError = "proxy_internal_error"      // the exit lacks something
)

// ProxyErrors returns all errors, in the order of the constants.
func ProxyErrors() []ProxyError {
	return []ProxyError{
		ErrorConnectionRefused, ErrorConnectionTimeout, ErrorDestinationUnavailable, ErrorIPProhibited, ErrorDNS, ErrorLimitReached,
		ErrorDenied, ErrorRequest, ErrorInternal,
	}
}

// refusal is the answer to a request that is not served.
type refusal struct {
	status  int
	proxy   ProxyError
	details string // a clause that the client may read
}

// Error implements error.
func (r *refusal) Error() string { return string(r.proxy) + ": " + r.details }

// The statuses of refusals (RFC 9110 15, RFC 6585 5, RFC 9209 2.3).
const (
	statusBadRequest     = 400
	statusForbidden      = 403
	statusMethod         = 405
	statusHeaderTooLarge = 431
	statusInternal       = 500
	statusBadGateway     = 502
	statusUnavailable    = 503
	statusGatewayTimeout = 504
)

func refuse(status int, proxy ProxyError, format string, values ...any) *refusal {
	return &refusal{status, proxy, fmt.Sprintf(format, values...)}
}

// proxyName is the name of the exit in Proxy-Status.
const proxyName = "proxy-exit"

// header returns the value of Proxy-Status: an item with a string (RFC 9651 3.3.3), which
// has printable ASCII only.
func (r *refusal) header() string {
	details := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '?'
		}
		return c
	}, clip.Text(r.details, clip.Clause))
	return fmt.Sprintf(`%s; error=%s; details="%s"`, proxyName, r.proxy, details)
}

// refusalOf returns the answer for a dial that has failed with err.
func refusalOf(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return refuse(statusBadGateway, ErrorConnectionRefused, "the target refused the connection")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, unix.ETIMEDOUT), errors.As(err, &timeout) && timeout.Timeout():
		return refuse(statusGatewayTimeout, ErrorConnectionTimeout, "the target did not answer in time")
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTDOWN), errors.Is(err, unix.ENETDOWN):
		return refuse(statusUnavailable, ErrorDestinationUnavailable, "the exit has no route to the target")
	case errors.Is(err, unix.ECONNRESET):
		return refuse(statusBadGateway, ErrorConnectionRefused, "the target reset the connection before it stood")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return refuse(statusUnavailable, ErrorDestinationUnavailable, "a rule of the exit's host forbids the connection")
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
		return refuse(statusUnavailable, ErrorLimitReached, "the exit has no file or memory for one more connection")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return refuse(statusUnavailable, ErrorLimitReached, "the exit has no local port for one more connection")
	default:
		return refuse(statusInternal, ErrorInternal, "the exit could not connect: %s", cause(err))
	}
}

// cause returns the system's words for an error, without addresses.
func cause(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno.Error()
	}
	return "an unknown cause"
}
