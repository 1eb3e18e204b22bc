// SPDX-License-Identifier: Apache-2.0

package tunnel

// IDs are the numbers by which the logs of proxy-server and agent call a connection. They
// exist in gRPC mode only: over HTTP CONNECT the server chooses them and does not send them.
type IDs struct {
	// Dial is the number that the dialler chooses: "dialID" in upstream's logs. It is 0
	// if there is none.
	Dial int64
	// Connection is the number that the agent chooses when the target has accepted:
	// "connectionID" in upstream's logs. It is 0 if there is none, and unique in one agent.
	Connection int64
}

// Identified is a Conn that has IDs.
type Identified interface{ IDs() IDs }

// IDsOf returns the IDs of a Conn, if it has some.
func IDsOf(c Conn) IDs {
	if is, ok := c.(Identified); ok {
		return is.IDs()
	}
	return IDs{}
}
