// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

// Reason says in one word why a connection could not be made. It is a label of the
// metric proxy_client_dial_failures_total, so its values are a closed set: these and
// those that package proxy adds.
type Reason string

// The reasons of a dial.
const (
	ReasonRefused           Reason = "refused"            // the target refused the agent's connection
	ReasonTimeout           Reason = "timeout"            // target or agent did not answer in time
	ReasonUnreachable       Reason = "unreachable"        // the agent has no route to the target
	ReasonNoAgent           Reason = "no_agent"           // the proxy-server has no agent to dial through
	ReasonServerUnreachable Reason = "server_unreachable" // no connection to the proxy-server
	ReasonTLS               Reason = "tls"                // the proxy-server's certificate, or ours, was not accepted
	ReasonProtocol          Reason = "protocol"           // the proxy-server answered what the protocol does not allow
	ReasonMaxConnections    Reason = "max_connections"    // too many open connections, or no file or memory for one
	ReasonNoPort            Reason = "no_port"            // no local port for a connection to the proxy-server
	ReasonForbidden         Reason = "forbidden"          // the policy of the exit, or of a proxy, forbids the target
	ReasonExitUnreachable   Reason = "exit_unreachable"   // no tunnel to an exit, or it broke
	ReasonCancelled         Reason = "cancelled"          // the app gave up first, or the sidecar is ending
	ReasonOther             Reason = "other"              // an answer that none of the above fits
)

// Reasons returns the reasons of a dial, in the order of the constants.
func Reasons() []Reason {
	return []Reason{
		ReasonRefused, ReasonTimeout, ReasonUnreachable, ReasonNoAgent, ReasonServerUnreachable, ReasonTLS, ReasonProtocol,
		ReasonMaxConnections, ReasonNoPort, ReasonForbidden, ReasonExitUnreachable, ReasonCancelled, ReasonOther,
	}
}

// Error is the error of every failed dial.
type Error struct {
	Reason Reason
	Server string // configured name of the proxy-server that was asked last; empty if none was
	Fault  Fault  // the zero value is FaultTarget
	IDs    IDs    // of the dial that was made last
	Next   string // what a person can do, if more is known than Reason says; else empty
	Err    error
}

// Error says what went wrong and through which server.
func (e *Error) Error() string {
	text := clip.Text(e.Err.Error(), clip.Sentence) // the server has written some of it
	if e.Server == "" {
		return text
	}
	return fmt.Sprintf("through proxy-server %s: %s", e.Server, text)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the reason in err's chain, or ReasonOther.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	if errors.Is(err, context.Canceled) {
		return ReasonCancelled
	}
	return ReasonOther
}

// Errors of an established Conn.
var (
	// ErrBroken is wrapped by errors of a Conn whose connection to the proxy-server
	// broke. Further bytes of the target are lost.
	ErrBroken = errors.New("the connection to the proxy-server broke")
	// ErrReset is wrapped by errors of a Conn whose target reset the connection. Only a
	// Carrier with Traits.Resets has it.
	ErrReset = errors.New("the target reset the connection")
	// ErrProtocol is wrapped by errors of a Conn whose proxy-server sent something that
	// the protocol does not allow.
	ErrProtocol = errors.New("the proxy-server broke the protocol")
	// ErrUnreceived is wrapped by errors of a Conn that was ended for its memory. All
	// Conns together held too many bytes that were not received, and this one the most.
	ErrUnreceived = errors.New("too much of what the target sent was not received")
	// ErrClosed is returned by a Conn after its Close.
	ErrClosed = errors.New("the tunnelled connection is closed")
)
