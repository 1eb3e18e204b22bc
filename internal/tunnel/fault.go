// SPDX-License-Identifier: Apache-2.0

package tunnel

// Fault says where the cause of a failed dial is, and so what can help.
type Fault uint8

// The faults.
const (
	// FaultTarget is an answer about the target, or the decision of an app to give up. It
	// is final.
	FaultTarget Fault = iota
	// FaultServer is a server that did not serve the dial. As far as is known, nothing
	// reached the target, so another server may serve the dial.
	FaultServer
	// FaultUnreachable is the FaultServer of a server to which there is no connection.
	FaultUnreachable
	// FaultUnusable is a FaultUnreachable that lasts until a person changes something,
	// here or at the server.
	FaultUnusable
	// FaultRefusal is a FaultServer that lasts until a person changes something, although
	// there is a connection to the server.
	FaultRefusal
	// FaultProcess is a lack of this process, such as files. It says nothing about the
	// server, and no other server helps.
	FaultProcess
	// FaultPort is the lack of a local port for one address of a server. There may be a
	// port for another address.
	FaultPort
)

// Elsewhere reports whether another server may succeed.
func (f Fault) Elsewhere() bool { return f != FaultTarget && f != FaultProcess }

// Unreachable reports whether there was no usable connection to the server.
func (f Fault) Unreachable() bool { return f == FaultUnreachable || f == FaultUnusable }

// Lasting reports whether trying again soon is of no use.
func (f Fault) Lasting() bool { return f == FaultUnusable || f == FaultRefusal }

// Ours reports whether the failure says nothing about the server.
func (f Fault) Ours() bool { return f == FaultProcess || f == FaultPort }
