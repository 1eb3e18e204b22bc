// SPDX-License-Identifier: Apache-2.0

package serverconn

// Fit says whether a server speaks the protocol in which it was dialled.
type Fit uint8

// The answers.
const (
	Fits        Fit = iota // it does, as far as is known
	Unclear                // it may not: its answer is one that such a server does not give
	SpeaksHTTP2            // it does not: ALPN chose HTTP/2
)
