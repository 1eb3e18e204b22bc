// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// envoyConnectTimeout is how long Gardener's Envoy tries to connect to a target.
	envoyConnectTimeout = 20 * time.Second
	// envoyCloseDelay is how long Envoy keeps a connection whose target has closed, for the
	// client to close it first (delayed_close_timeout).
	envoyCloseDelay = time.Second
)

// Envoy stands in for the Envoy of today's Gardener, which is no package of Debian. It
// answers as Envoy's source and issues say: TLS without ALPN, HTTP/1.1 CONNECT, 404 for
// anything else, 503 with a length for a target that cannot be reached, and no half-close
// (its issue 17160). It is strict: a request that is not as RFC 9110 wants it gets 400.
type Envoy struct {
	listener net.Listener
	lab      *Lab
	tasks    sync.WaitGroup
	ctx      context.Context
	stop     context.CancelFunc

	mu    sync.Mutex
	conns map[*tls.Conn]bool
}

// StartEnvoy starts the stand-in in the seed, at [Lab.ConnectProxyAddress]. It ends with
// the lab.
func (l *Lab) StartEnvoy() (*Envoy, error) {
	if err := l.RouteSeedToShoot(); err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(l.Certs.ServerCert, l.Certs.ServerKey)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(l.Certs.FrontendCA)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(ca)
	raw, err := l.Seed.Listen("tcp", l.ConnectProxyAddress())
	if err != nil {
		return nil, err
	}
	e := &Envoy{lab: l, conns: map[*tls.Conn]bool{}, listener: tls.NewListener(raw, &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	})}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.tasks.Go(e.accept)
	l.OnClose(e.close)
	return e, nil
}

// close ends it with the lab. It may have been killed before.
func (e *Envoy) close() error {
	e.Kill()
	e.tasks.Wait()
	return nil
}

// Kill ends it as SIGKILL ends a process: the kernel ends its connections, without
// close_notify.
func (e *Envoy) Kill() {
	e.stop()
	_ = e.listener.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for conn := range e.conns {
		_ = conn.NetConn().Close()
	}
}

func (e *Envoy) accept() {
	for {
		conn, err := e.listener.Accept()
		if err != nil {
			return // closed
		}
		secured := conn.(*tls.Conn)
		e.mu.Lock()
		e.conns[secured] = true
		if e.ctx.Err() != nil { // Kill has not seen it
			_ = secured.NetConn().Close()
		}
		e.mu.Unlock()
		e.tasks.Go(func() {
			e.serve(secured)
			e.mu.Lock()
			delete(e.conns, secured)
			e.mu.Unlock()
		})
	}
}

func (e *Envoy) serve(conn *tls.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil || req.ProtoMinor != 1 || req.Host == "":
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\ncontent-type: text/plain\r\nserver: envoy\r\nconnection: close\r\n\r\nBad Request")
			return
		case req.Method != http.MethodConnect:
			_, _ = io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nserver: envoy\r\ncontent-length: 0\r\n\r\n")
		case strings.HasSuffix(req.Host, fmt.Sprint(":", ForbiddenPort)):
			const said = "RBAC: access denied"
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 403 Forbidden\r\ncontent-length: %d\r\ncontent-type: text/plain\r\nserver: envoy\r\n\r\n%s", len(said), said)
		default:
			if e.tunnel(conn, in, req.Host) {
				return
			}
		}
		if req != nil && req.Close {
			return
		}
	}
}

// tunnel connects to a target, and carries bytes until one side has ended. It returns false
// if the target could not be reached.
func (e *Envoy) tunnel(conn *tls.Conn, in *bufio.Reader, host string) bool {
	ctx, cancel := context.WithTimeout(e.ctx, envoyConnectTimeout)
	defer cancel()
	target, err := e.lab.Seed.DialContext(ctx, "tcp", host)
	if err != nil {
		reason := "connection timeout"
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			reason = fmt.Sprintf("remote connection failure, transport failure reason: delayed connect error: %d", int(errno))
		}
		said := "upstream connect error or disconnect/reset before headers. reset reason: " + reason
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: %d\r\ncontent-type: text/plain\r\nserver: envoy\r\n\r\n%s", len(said), said)
		return false
	}
	defer target.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\ndate: Sat, 29 Nov 2026 00:00:00 GMT\r\nserver: envoy\r\n\r\n")
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, _ = io.Copy(target, in)
		_ = target.Close() // the client's end is the end of both directions
	}()
	_, _ = io.Copy(conn, target)
	select {
	case <-up:
	case <-time.After(envoyCloseDelay):
	case <-e.ctx.Done():
	}
	_ = conn.Close() // with close_notify
	<-up
	return true
}
