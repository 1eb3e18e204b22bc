// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Greeting is a request that asks for nothing. A proxy-server in http-connect mode does
// not see it: net/http answers it by itself (serverHandler.ServeHTTP), with 200 and without
// a name. Standard proxies answer 404, 501, or 200 with their name.
const Greeting = "OPTIONS * HTTP/1.1\r\nHost: proxy-server\r\nUser-Agent: shoot-proxy\r\nConnection: close\r\n\r\n"

var (
	// ErrSettings is wrapped by the error of a server that should speak HTTP/1.1 and
	// speaks HTTP/2.
	ErrSettings = errors.New("it speaks HTTP/2")
	// ErrNoAnswer is wrapped by the error of a server that has ended the connection
	// without an answer. A server with grpc-go does so if ALPN has not chosen HTTP/2
	// (ServerHandshake in its package credentials).
	ErrNoAnswer = errors.New("it closed the connection without an answer")
)

// Greet sends Greeting on conn and returns the answer. The caller ends conn. A handshake
// alone says little. With TLS 1.3 a server refuses a client certificate only after it. The
// kernel accepts connections to the Unix socket of a process that hangs.
func Greet(ctx context.Context, e *serverconn.Endpoint, conn net.Conn) (Answer, *tunnel.Error) {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	// If the request cannot be written, the answer says why.
	_, _ = io.WriteString(conn, Greeting)
	var p []byte
	piece := make([]byte, 1024)
	for {
		n, err := conn.Read(piece)
		p = append(p, piece[:n]...)
		a, state := Parse(p, err != nil && !serverconn.TimedOut(err))
		_, alerted := serverconn.RemoteAlert(err)
		switch {
		case alerted:
			return a, e.Alerted(err)
		case state == Complete, state == Incomplete && a.Status != 0: // its text says nothing more
			return a, nil
		case IsSettings(p):
			return a, e.WrongServer(fmt.Errorf("%w, which %s does not fit: use %s", ErrSettings, e.Names().ModeIs(mode(e)), e.OtherMode(tunnel.ModeGRPC)))
		case len(p) >= settingsHead && state != Incomplete:
			return a, e.WrongServer(fmt.Errorf("its answer to an HTTP/1.1 request begins %q: is the port right? %s", p[:settingsHead], serverconn.ServersPort))
		case err == nil:
			continue
		case len(p) == 0 && !serverconn.TimedOut(err):
			err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		return a, e.Unreachable(ctx, fmt.Errorf("no HTTP/1.1 answer from %s: %w; is it an %s server (%s)?", e.Address(), err, mode(e), e.ModeSetting()))
	}
}

// mode returns the HTTP/1.1 mode of a server, for errors.
func mode(e *serverconn.Endpoint) tunnel.Mode {
	if e.Server.Mode == tunnel.ModeHTTPSProxy {
		return tunnel.ModeHTTPSProxy
	}
	return tunnel.ModeHTTPConnect
}

// Standard reports whether an answer to Greeting is that of a standard proxy, and not of a
// proxy-server. A proxy-server is nameless, and so is a proxy that is written in Go: the
// answer to CONNECT tells these two apart.
func (a Answer) Standard() bool {
	return a.Status != http.StatusOK || a.Named()
}

// settingsHead is how many bytes IsSettings needs.
const settingsHead = 9

// IsSettings reports whether p begins like the first HTTP/2 frame of a server, which is
// SETTINGS (RFC 9113, sections 3.4 and 6.5). A server with grpc-go sends it before it
// has read anything (NewServerTransport).
func IsSettings(p []byte) bool {
	const setting, most = 6, 1 << 10 // bytes
	if len(p) < settingsHead {
		return false
	}
	n := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
	return n%setting == 0 && n <= most && p[3] == serverconn.SettingsFrame && string(p[4:settingsHead]) == "\x00\x00\x00\x00\x00"
}
