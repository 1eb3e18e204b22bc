// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/tunnel/tunneltest"
)

// TestMeanings: the error type of RFC 9209 decides, and without a known one the status.
func TestMeanings(t *testing.T) {
	for _, tt := range []struct {
		status int
		kind   string
		want   string // as tunneltest.Words has it
	}{
		{502, "connection_refused", "refused"},
		{504, "connection_timeout", "timeout"},
		{502, "destination_unavailable", "unreachable"},
		{502, "dns_error", "unreachable"},
		{403, "destination_ip_prohibited", "forbidden"},
		{502, "destination_ip_prohibited", "forbidden"},
		{503, "connection_limit_reached", "max_connections, elsewhere"},
		{500, "proxy_internal_error", "other, elsewhere"},
		{403, "", "forbidden"},
		{407, "", "forbidden, elsewhere"},
		{404, "a_new_one", "protocol, elsewhere"},
		{429, "", "max_connections, elsewhere"},
		{504, "", "timeout"},
		{502, "", "unreachable"},
		{500, "", "other, elsewhere"},
		{508, "proxy_loop_detected", "other, elsewhere"},
		{400, "http_request_error", "other"},
		{503, "proxy_internal_response", "unreachable"},
		{0, "", "protocol, elsewhere"},
	} {
		at := &exitTunnel{target: theExit, server: "server"}
		err := at.dialError(context.Background(), &h2connect.Refusal{Status: tt.status, ProxyError: tt.kind})
		if got := tunneltest.Words(err); got != tt.want {
			t.Errorf("%d %s means %q, want %q", tt.status, tt.kind, got, tt.want)
		}
		if err.Server != "server" {
			t.Errorf("%d %s: the server is %q", tt.status, tt.kind, err.Server)
		}
	}
}

// TestResets: a reset in place of an answer has a reason, and its words name the code.
func TestResets(t *testing.T) {
	for code, want := range map[http2.ErrCode]string{
		http2.ErrCodeConnect:       "unreachable",
		http2.ErrCodeRefusedStream: "max_connections, elsewhere",
		http2.ErrCodeProtocol:      "protocol, elsewhere",
		http2.ErrCodeCancel:        "other, elsewhere",
	} {
		at := &exitTunnel{target: theExit, server: "server"}
		err := at.dialError(context.Background(), &h2connect.Reset{PeerReset: http2wire.PeerReset{Code: code}})
		if got := tunneltest.Words(err); got != want {
			t.Errorf("%s means %q, want %q", code, got, want)
		}
		if !strings.Contains(err.Error(), code.String()) || errors.Is(err, tunnel.ErrBroken) || (err.Next == "") != (code == http2.ErrCodeConnect) {
			t.Errorf("%s: %v, next %q", code, err, err.Next)
		}
	}
}
