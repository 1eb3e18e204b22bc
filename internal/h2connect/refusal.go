// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/proxystatus"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// StreamRefused reports whether err is that of a dial whose stream the proxy has refused with
// REFUSED_STREAM, before it has processed it. A proxy does so at a limit of its own. The
// connection goes on.
func StreamRefused(err error) bool {
	reset, ok := errors.AsType[http2wire.PeerReset](err)
	return ok && reset.Code == http2.ErrCodeRefusedStream
}

// Reset is the error of a dial whose stream the proxy has reset before it answered.
type Reset struct{ http2wire.PeerReset }

// Error implements error.
func (r *Reset) Error() string {
	return fmt.Sprintf("the proxy reset the stream before it answered (RST_STREAM with %s)", r.Code)
}

// Unwrap returns the reset as package http2wire has it.
func (r *Reset) Unwrap() error { return r.PeerReset }

// Meaning returns what the code of the reset says of the dial.
func (r *Reset) Meaning() (tunnel.Reason, tunnel.Fault) {
	switch r.Code {
	case http2.ErrCodeConnect: // its connection to the target failed (RFC 9113, section 8.5)
		return tunnel.ReasonUnreachable, tunnel.FaultTarget
	case http2.ErrCodeRefusedStream, http2.ErrCodeEnhanceYourCalm:
		return tunnel.ReasonMaxConnections, tunnel.FaultServer
	case http2.ErrCodeProtocol, http2.ErrCodeHTTP11Required: // it does not accept CONNECT, or not in HTTP/2
		return tunnel.ReasonProtocol, tunnel.FaultServer
	default:
		return tunnel.ReasonOther, tunnel.FaultServer
	}
}

// Refusal is the error of a dial that the proxy has answered with another status than 2xx.
type Refusal struct {
	Status     int
	ProxyError string // type of the error in Proxy-Status (RFC 9209, section 2.3), or empty
	Details    string // the proxy's words for people, or empty
}

// Error implements error.
func (r *Refusal) Error() string {
	text := fmt.Sprintf("it answered with status %d", r.Status)
	if r.ProxyError != "" {
		text += ", " + clip.Text(r.ProxyError, clip.Words)
	}
	if r.Details != "" {
		text += ": " + r.Details
	}
	return text
}

// refusalOf returns the Refusal in the headers of an answer, or nil if the proxy has
// connected.
func refusalOf(f *http2.MetaHeadersFrame) *Refusal {
	status, err := strconv.Atoi(f.PseudoValue("status"))
	if err != nil || len(f.PseudoValue("status")) != 3 {
		status = 0
	}
	if status/100 == 2 {
		return nil
	}
	var fields []string
	for _, h := range f.RegularFields() {
		if h.Name == "proxy-status" {
			fields = append(fields, h.Value)
		}
	}
	said := proxystatus.Parse(fields)
	return &Refusal{Status: status, ProxyError: said.Error, Details: clip.Text(said.Details, clip.Clause)}
}
