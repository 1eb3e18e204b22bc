// SPDX-License-Identifier: Apache-2.0

package serverconn

// Fit says whether a server speaks the protocol in which it was dialled.
type Fit uint8

// The answers.
const (
	Fits            Fit = iota // it does, as far as is known
	Unclear                    // it may not: a server of this protocol does not answer so
	SpeaksHTTP2                // it does not: ALPN chose HTTP/2
	StandardProxy              // its success is that of a standard proxy
	StandardRefusal            // its refusal is that of a standard proxy, or of something in front of it
	Konnectivity               // its success may be that of a proxy-server
)
