// SPDX-License-Identifier: Apache-2.0

package serverconn

import "time"

// ALPN protocol names (RFC 7301; IANA registry).
const (
	ALPNHTTP2 = "h2"
	ALPNHTTP1 = "http/1.1"
)

// ReachTimeout bounds one attempt to reach an endpoint.
const ReachTimeout = 5 * time.Second
