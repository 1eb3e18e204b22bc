// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

// Reason says in one word why a connection could not be made. The set is
// closed: it is the label of proxy_client_dial_failures_total.
type Reason string

// The reasons. Those from ReasonOutsideCIDRs to ReasonMaxDials, but for ReasonNoPort,
// are given by the proxy before anything is dialled.
const (
	ReasonRefused           Reason = "refused"            // the target refused the agent's connection
	ReasonTimeout           Reason = "timeout"            // target or agent did not answer in time
	ReasonUnreachable       Reason = "unreachable"        // the agent has no route to the target
	ReasonNoAgent           Reason = "no_agent"           // the proxy-server has no agent to dial through
	ReasonServerUnreachable Reason = "server_unreachable" // no connection to the proxy-server
	ReasonTLS               Reason = "tls"                // the proxy-server's certificate, or ours, was not accepted
	ReasonProtocol          Reason = "protocol"           // the proxy-server answered what the protocol does not allow
	ReasonOutsideCIDRs      Reason = "outside_cidrs"      // the destination is not the shoot's
	ReasonLoop              Reason = "loop"               // the destination is the sidecar or a proxy-server
	ReasonNotRedirected     Reason = "not_redirected"     // somebody connected to the sidecar itself
	ReasonMaxConnections    Reason = "max_connections"    // too many open connections, or no file or memory for one
	ReasonNoPort            Reason = "no_port"            // no local port for a connection to the proxy-server
	ReasonMaxDials          Reason = "max_dials"          // too many dials in flight
	ReasonCancelled         Reason = "cancelled"          // the app gave up first, or the sidecar is ending
	ReasonOther             Reason = "other"              // an answer that none of the above fits
)

// Reasons returns the closed set, in the order of the constants.
func Reasons() []Reason {
	return []Reason{
		ReasonRefused, ReasonTimeout, ReasonUnreachable, ReasonNoAgent, ReasonServerUnreachable, ReasonTLS, ReasonProtocol,
		ReasonOutsideCIDRs, ReasonLoop, ReasonNotRedirected, ReasonMaxConnections, ReasonNoPort, ReasonMaxDials, ReasonCancelled, ReasonOther,
	}
}

// Error is the error of every failed dial.
type Error struct {
	Reason Reason
	Server string // configured name of the proxy-server that was asked last; empty where none was
	Err    error

	// elsewhere is true where another server may succeed: nothing reached the
	// target, as far as we can know.
	elsewhere bool
	// unreachable is true where there was not even a connection to the server.
	unreachable bool
	// lasting is true where trying again soon is of no use: somebody has to change
	// something, here or at the server.
	lasting bool
	// ours is true where the process lacked something, which says nothing about
	// the server.
	ours bool
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
	// ErrBroken is wrapped by errors of a Conn whose leg to the proxy-server
	// broke: what the target still had to say is lost.
	ErrBroken = errors.New("the leg to the proxy-server broke")
	// ErrProtocol is wrapped by errors of a Conn whose proxy-server sent what
	// the protocol does not allow.
	ErrProtocol = errors.New("the proxy-server broke the protocol")
	// ErrUnreceived is wrapped by errors of a Conn that held more of the target's bytes
	// than any other, because Receive was not called, when all held too much.
	ErrUnreceived = errors.New("too much of what the target sent was not received")
	// ErrClosed is returned by a Conn after its Close.
	ErrClosed = errors.New("the tunnelled connection is closed")
)

// errGaveUp is what is wrong with a dial that was given up.
var errGaveUp = errors.New("no answer from the agent")

// noAnswer is the error of a dial whose ctx ended before the agent answered.
func noAnswer(ctx context.Context, server string) *Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &Error{Reason: ReasonCancelled, Server: server, Err: errGaveUp}
	}
	return &Error{Reason: ReasonTimeout, Server: server, Err: errGaveUp, elsewhere: true}
}

// answer is one known free text of upstream, in lower case, and what it means.
type answer struct {
	text      string
	reason    Reason
	elsewhere bool
}

// answers lists what proxy-server and agent say when a dial fails. Both report
// errors as free text (server.go, tunnel.go and agent/client.go of
// apiserver-network-proxy v0.36); the first match wins, so texts about the path
// come before the target's, whose words they may contain.
var answers = []answer{
	{"no agent available", ReasonNoAgent, true},
	{"timed out waiting for backend dial", ReasonTimeout, true},
	// The server could not hand the request to the agent that it had chosen.
	{"failed to tunnel dial request", ReasonNoAgent, true},
	{"backend context error", ReasonNoAgent, true},
	{"transport is closing", ReasonNoAgent, true},
	{"rpc error", ReasonNoAgent, true},
	// The agent's own dial, in the words of Go's net package.
	{"connection refused", ReasonRefused, false},
	{"connection reset by peer", ReasonRefused, false},
	{"i/o timeout", ReasonTimeout, false},
	{"connection timed out", ReasonTimeout, false},
	{"deadline exceeded", ReasonTimeout, false},
	{"no route to host", ReasonUnreachable, false},
	{"network is unreachable", ReasonUnreachable, false},
	{"host is unreachable", ReasonUnreachable, false},
	{"host is down", ReasonUnreachable, false},
	{"network is down", ReasonUnreachable, false},
	{"permission denied", ReasonUnreachable, false},
	{"operation not permitted", ReasonUnreachable, false},
}

// classify turns the text with which proxy-server or agent refused a dial into
// an Error.
func classify(server, text string) *Error {
	text = strings.TrimSpace(text)
	e := &Error{Reason: ReasonOther, Server: server, Err: fmt.Errorf("dial refused: %.200q", text)}
	lower := strings.ToLower(text)
	if lower == "eof" { // the agent's stream ended while the server wrote to it
		e.Reason, e.elsewhere = ReasonNoAgent, true
		return e
	}
	for _, a := range answers {
		if strings.Contains(lower, a.text) {
			e.Reason, e.elsewhere = a.reason, a.elsewhere
			return e
		}
	}
	return e
}
