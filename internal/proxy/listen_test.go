// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

func TestListenSaysWhatToDoWhereItCannot(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := netip.MustParseAddrPort("127.0.0.1:0")
	tests := []struct {
		name    string
		address string
		cause   error
		says    string
	}{
		{"address in use", taken.Addr().String(), unix.EADDRINUSE, "--proxy-port"},
		{"not this machine's", "[fd00::1]:14001", unix.EADDRNOTAVAIL, "enable its IP family"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			listeners, err := Listen(t.Context(), []netip.AddrPort{free, netip.MustParseAddrPort(tt.address)}, options.SettingNames())
			if listeners != nil || !errors.Is(err, tt.cause) {
				t.Fatalf("want no listener and %v, got %v, %v", tt.cause, listeners, err)
			}
			for _, want := range []string{tt.address, tt.says} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
		})
	}
}

// The kernel does not report the original destination of a redirected MPTCP connection.
func TestListenersSpeakPlainTCPToMultipathApps(t *testing.T) {
	listeners, err := Listen(t.Context(), []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, options.SettingNames())
	if err != nil {
		t.Fatal(err)
	}
	defer listeners[0].Close()
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	app, err := dialer.Dial("tcp", listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	conn, err := listeners[0].AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if multipath, err := conn.MultipathTCP(); err != nil || multipath {
		t.Errorf("the accepted connection is an MPTCP one: %t, %v", multipath, err)
	}
}

// lowestFree returns the number of the next descriptor.
func lowestFree(t *testing.T) int {
	t.Helper()
	fd, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	return fd
}

// scriptedListener is an acceptor that returns its errors one after the other, and then
// the error of a closed listener.
type scriptedListener struct {
	errs  []error
	calls int
	end   func()
}

func (s *scriptedListener) AcceptTCP() (*net.TCPConn, error) {
	s.calls++
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return nil, err
	}
	s.end()
	return nil, net.ErrClosed
}

func TestAcceptErrorsNeitherEndTheListenerNorFillTheLog(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ln := &scriptedListener{
		errs: []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, errors.New("unheard of")},
		end:  cancel,
	}
	log := &logtest.Buffer{}
	never := func(*net.TCPConn) { t.Error("there was no connection") }
	if err := accept(ctx, ln, &net.TCPAddr{}, never, log.Logger(slog.LevelInfo)); err != nil {
		t.Errorf("accepting ended with %v", err)
	}
	if ln.calls != 6 {
		t.Errorf("%d accepts, want 6: one for each error, and the last", ln.calls)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d log lines, want 1:\n%s", n, log)
	}
}

// A real shortage: no descriptor is left, and connections wait in the queue.
func TestConnectionsWaitWhileThereAreNoFiles(t *testing.T) {
	lead, accept := tunnelTo(t)
	goOn := make(chan struct{})
	h := start(t, dials(func(ctx context.Context) (tunnel.Conn, error) {
		<-goOn
		return lead(ctx)
	}), target, nil)
	// The app's descriptors come first, because it is in this process too. The proxy
	// uses its own as soon as it gets them.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	app, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(app), "app")
	defer file.Close()
	lowered := limit
	lowered.Cur = uint64(lowestFree(t))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lowered); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	defer restore()
	to := netip.MustParseAddrPort(h.addr)
	if err := unix.Connect(app, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		t.Fatal(err)
	}
	h.settled <- struct{}{}
	line := h.line("cannot accept connections, trying on; they wait meanwhile")
	if text, _ := line["error"].(string); !strings.Contains(text, syscall.EMFILE.Error()) {
		t.Errorf("the log does not name the cause: %v", line)
	}
	restore()
	close(goOn)
	far := accept()
	if _, err := file.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatalf("the connection that had to wait does not work: %v", err)
	}
}
