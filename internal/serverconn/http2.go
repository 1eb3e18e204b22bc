// SPDX-License-Identifier: Apache-2.0

package serverconn

// ALPN protocol names (RFC 7301; IANA registry).
const (
	ALPNHTTP2 = "h2"
	ALPNHTTP1 = "http/1.1"
)

// SettingsFrame is the type of HTTP/2's SETTINGS frame (RFC 9113, section 6.5).
const SettingsFrame = 4
