// SPDX-License-Identifier: Apache-2.0

package httpsproxy

import (
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/http1"
)

// custom is what a proxy does that the RFCs leave open. The zero value is what is safe with
// any proxy.
type custom struct {
	// endsBare means that the proxy ends a tunnel with FIN, without close_notify.
	endsBare bool
	// carriesHalfClose means that the proxy passes the end of one direction on, and keeps
	// the other. Envoy (its issue 17160) and squid end both.
	carriesHalfClose bool
}

// customOf returns the custom of the proxy that has given an answer.
func customOf(a http1.Answer) custom {
	for _, name := range []string{"Proxy-Agent", "Server"} {
		// mod_proxy_connect closes the socket of the client and never shuts TLS down. It
		// passes on each direction until that has ended (proxy_connect_handler).
		if software, _, _ := strings.Cut(a.Header.Get(name), "/"); software == "Apache" {
			return custom{endsBare: true, carriesHalfClose: true}
		}
	}
	return custom{}
}

// establishedLine begins the success of a proxy-server of konnectivity, which has no
// headers. A standard proxy may answer with the same bytes.
const establishedLine = "HTTP/1.1 200 Connection Established"

// mayBeKonnectivity reports whether a success may be that of a proxy-server.
func mayBeKonnectivity(a http1.Answer) bool { return a.Line == establishedLine && len(a.Header) == 0 }
