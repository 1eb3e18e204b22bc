// SPDX-License-Identifier: Apache-2.0

package relay

// CloseReason says in one word how an established connection ended. The set is closed:
// it is the label of proxy_client_close_total.
type CloseReason string

// The reasons.
const (
	AppClosed            CloseReason = "app_closed"             // the app closed
	AppReset             CloseReason = "app_reset"              // the app reset the connection
	TargetClosed         CloseReason = "target_closed"          // the target closed or reset: upstream does not say which
	TargetReset          CloseReason = "target_reset"           // the target reset, and the tunnel tells this from a close
	TunnelBroken         CloseReason = "tunnel_broken"          // the connection to the proxy-server broke, or the exit ended this one
	HalfCloseUnsupported CloseReason = "half_close_unsupported" // the target waits for an end of file that the tunnel cannot carry
	Idle                 CloseReason = "idle"                   // nothing moved for too long
	SlowReader           CloseReason = "slow_reader"            // the app read too slowly
	Drain                CloseReason = "drain"                  // the sidecar is ending
	Protocol             CloseReason = "protocol"               // the proxy-server violated the protocol
)

// CloseReasons returns all reasons, in the order of the constants.
func CloseReasons() []CloseReason {
	return []CloseReason{AppClosed, AppReset, TargetClosed, TargetReset, TunnelBroken, HalfCloseUnsupported, Idle, SlowReader, Drain, Protocol}
}

// AppState is the state of an app that has sent FIN.
type AppState int

// The states.
const (
	AppUnknown    AppState = iota // treated as half-closed
	AppHalfClosed                 // shutdown(SHUT_WR): it still reads
	AppGone                       // close: it reads no answer
)
