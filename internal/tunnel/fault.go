// SPDX-License-Identifier: Apache-2.0

package tunnel

// Fault says where the cause of a failed dial lies, and so what can help.
type Fault uint8

// The faults.
const (
	// FaultTarget is an answer about the target, or an app that gave up. It is final.
	FaultTarget Fault = iota
	// FaultServer is a server that did not serve the dial. As far as is known, nothing
	// reached the target, so another server may serve it.
	FaultServer
	// FaultUnreachable is FaultServer of a server to which there is no connection.
	FaultUnreachable
	// FaultUnusable is FaultUnreachable until a person changes something, here or at
	// the server.
	FaultUnusable
	// FaultRefusal is FaultServer until a person changes something. The connection to
	// the server stands.
	FaultRefusal
	// FaultProcess is something that this process lacks. It says nothing about the
	// server, and no other server helps.
	FaultProcess
	// FaultPort is a local port that this process lacks for one address of a server,
	// and may have for another.
	FaultPort
)

// Elsewhere reports whether another server may succeed.
func (f Fault) Elsewhere() bool { return f != FaultTarget && f != FaultProcess }

// Unreachable reports whether there was not even a connection of use to the server.
func (f Fault) Unreachable() bool { return f == FaultUnreachable || f == FaultUnusable }

// Lasting reports whether trying again soon is of no use.
func (f Fault) Lasting() bool { return f == FaultUnusable || f == FaultRefusal }

// Ours reports whether the failure says nothing about the server.
func (f Fault) Ours() bool { return f == FaultProcess || f == FaultPort }
