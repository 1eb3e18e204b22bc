// SPDX-License-Identifier: Apache-2.0

package tunnel

// Exits are the exits of a configuration. An exit is a proxy in the shoot that speaks HTTP/2
// CONNECT over TLS (RFC 9113, section 8.5). Agents reach it like any target. Its streams
// carry what konnectivity does not: see Traits.
type Exits struct {
	// Targets are the exits, as agents dial them.
	Targets []HostPort
	// TLS has the files for connections to exits. CAFile, CertFile and KeyFile are given if
	// there is an exit. If ServerName is empty, the name is each exit's own host.
	TLS TLS
	// Required says that a dial fails while no exit answers. Otherwise it then goes to the
	// target without an exit.
	Required bool
}

// Enabled reports whether there is an exit.
func (e Exits) Enabled() bool { return len(e.Targets) > 0 }

// Exited is a Conn that goes through an exit.
type Exited interface{ Exit() string }

// ExitOf returns the configured name of the exit of a Conn, or "" if there is none.
func ExitOf(c Conn) string {
	if is, ok := c.(Exited); ok {
		return is.Exit()
	}
	return ""
}
