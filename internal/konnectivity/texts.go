// SPDX-License-Identifier: Apache-2.0

package konnectivity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// CloseGrace bounds the wait for CLOSE_RSP, and for the end of a CONNECT connection. If
// a stream ends earlier, the server answers each late DATA packet.
const CloseGrace = 2 * time.Second

// ErrGaveUp is the cause of the error of a dial that was given up.
var ErrGaveUp = errors.New("neither the proxy-server nor its agent has answered")

// NoAnswer returns the error of a dial whose ctx ended before the agent answered.
func NoAnswer(ctx context.Context, server string) *tunnel.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &tunnel.Error{Reason: tunnel.ReasonCancelled, Server: server, Err: ErrGaveUp}
	}
	return &tunnel.Error{Reason: tunnel.ReasonTimeout, Server: server, Err: ErrGaveUp, Fault: tunnel.FaultServer}
}

// answer is one known text of upstream, in lower case, and its meaning.
type answer struct {
	text   string
	reason tunnel.Reason
	fault  tunnel.Fault
}

// answers lists the texts with which proxy-server and agent refuse a dial. Both report
// errors as free text (server.go, tunnel.go and agent/client.go of
// apiserver-network-proxy v0.36). The first match wins. Texts about the path come
// first, because they may contain words of a target's text.
var answers = []answer{
	{"no agent available", tunnel.ReasonNoAgent, tunnel.FaultServer},
	{"timed out waiting for backend dial", tunnel.ReasonTimeout, tunnel.FaultServer},
	// The server could not hand the request to the agent that it had chosen.
	{"failed to tunnel dial request", tunnel.ReasonNoAgent, tunnel.FaultServer},
	{"backend context error", tunnel.ReasonNoAgent, tunnel.FaultServer},
	{"transport is closing", tunnel.ReasonNoAgent, tunnel.FaultServer},
	{"rpc error", tunnel.ReasonNoAgent, tunnel.FaultServer},
	// The agent's own dial, in the words of Go's net package.
	{"connection refused", tunnel.ReasonRefused, tunnel.FaultTarget},
	{"connection reset by peer", tunnel.ReasonRefused, tunnel.FaultTarget},
	{"i/o timeout", tunnel.ReasonTimeout, tunnel.FaultTarget},
	{"connection timed out", tunnel.ReasonTimeout, tunnel.FaultTarget},
	{"deadline exceeded", tunnel.ReasonTimeout, tunnel.FaultTarget},
	{"no route to host", tunnel.ReasonUnreachable, tunnel.FaultTarget},
	{"network is unreachable", tunnel.ReasonUnreachable, tunnel.FaultTarget},
	{"host is unreachable", tunnel.ReasonUnreachable, tunnel.FaultTarget},
	{"host is down", tunnel.ReasonUnreachable, tunnel.FaultTarget},
	{"network is down", tunnel.ReasonUnreachable, tunnel.FaultTarget},
	{"permission denied", tunnel.ReasonUnreachable, tunnel.FaultTarget},
	{"operation not permitted", tunnel.ReasonUnreachable, tunnel.FaultTarget},
}

// Classify returns the Error for the text with which proxy-server or agent refused a
// dial.
func Classify(server, text string) *tunnel.Error {
	text = strings.TrimSpace(text)
	e := &tunnel.Error{Reason: tunnel.ReasonOther, Server: server, Err: fmt.Errorf("dial refused: %.200q", text)}
	lower := strings.ToLower(text)
	if lower == "eof" { // the agent's stream ended while the server wrote to it
		e.Reason, e.Fault = tunnel.ReasonNoAgent, tunnel.FaultServer
		return e
	}
	for _, a := range answers {
		if strings.Contains(lower, a.text) {
			e.Reason, e.Fault = a.reason, a.fault
			return e
		}
	}
	return e
}
