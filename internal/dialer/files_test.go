// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// withoutFiles runs fn while this process cannot open another file.
func withoutFiles(t *testing.T, fn func()) {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 0
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &none))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	fn()
}

// TestNoFilesLeft: a dial for which there is no file fails at once and says so. It does
// not count against the server, and the next dial succeeds.
func TestNoFilesLeft(t *testing.T) {
	p := newPKI(t)
	for _, mode := range []tunnel.Mode{tunnel.ModeHTTPConnect, tunnel.ModeGRPC} {
		t.Run(string(mode), func(t *testing.T) {
			server := tunnel.Server{}
			if mode == tunnel.ModeGRPC {
				server = p.serveGRPC(t, mode, accept)
			} else {
				server = p.serveConnect(t, mode, func(c *tls.Conn) {
					write(establishedLine)(c)
					_ = c.CloseWrite()
				})
			}
			d := newDialer(t, p.client(), hang, server)
			e := d.endpoint(t)
			withoutFiles(t, func() {
				_, err := d.dial(t)
				if tunnel.ReasonOf(err) != tunnel.ReasonMaxConnections || !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "limit of open files") {
					t.Errorf("the dial ended with %v (%s), want %s and what to raise", err, tunnel.ReasonOf(err), tunnel.ReasonMaxConnections)
				}
				if err := e.Check(t.Context()); !errors.Is(err, unix.EMFILE) {
					t.Errorf("the server could not be looked at, but the check says %v", err)
				}
			})
			e.mu.Lock()
			if e.aside.failures != 0 {
				t.Error("the server is set aside for our own lack of files")
			}
			e.mu.Unlock()
			var conn tunnel.Conn
			var err error
			// A failed check holds for checkPause.
			waittest.Eventually(t, "a dial that succeeds, now that there are files again", func() bool {
				conn, err = d.dial(t)
				return err == nil
			})
			must(t, conn.Close())
		})
	}
}
