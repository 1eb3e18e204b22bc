// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netnamespace"
)

// lines collects what is logged, and tells when a line is added.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	came chan struct{} // capacity 1
}

func newLines() *lines { return &lines{came: make(chan struct{}, 1)} }

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.came <- struct{}{}:
	default:
	}
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until a line that contains text was logged.
func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	for end := time.After(hang); !strings.Contains(l.String(), text); {
		select {
		case <-l.came:
		case <-end:
			t.Fatalf("no line with %q was logged: %s", text, l)
		}
	}
}

// holdLock takes the lock of a pod, as another process would.
func (p pod) holdLock(t *testing.T) (release func()) {
	t.Helper()
	var lock net.Listener
	var err error
	p.Do(t, func() { lock, err = net.Listen("unix", netnamespace.LockName) })
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = lock.Close() })
	t.Cleanup(release)
	return release
}

func TestCallerWaitsForTheLockAndSaysForWhom(t *testing.T) {
	p := dualStackPod(t)
	cfg := configFor(shootCIDR(IPv4))
	for name, call := range map[string]func(Options) error{
		"apply": func(o Options) error { _, err := Apply(t.Context(), cfg, o); return err },
		"apply and verify": func(o Options) error {
			_, err := ApplyAndVerify(t.Context(), cfg, o)
			return err
		},
		"plan":   func(o Options) error { _, err := Plan(t.Context(), cfg, o); return err },
		"verify": func(o Options) error { return Verify(t.Context(), cfg, o) },
		"dump":   func(o Options) error { _, err := Dump(t.Context(), o); return err },
		"clean":  func(o Options) error { _, err := Clean(t.Context(), o, CleanOptions{Drain: true}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			p.apply(t, cfg, BackendNFT)
			release := p.holdLock(t)
			log := newLines()
			opt := p.options(t, BackendNFT)
			opt.Logger = slog.New(slog.NewTextHandler(log, nil))
			ended := make(chan error, 1)
			go func() { ended <- call(opt) }()
			log.await(t, "waiting: another process works on the rules of this network namespace")
			log.await(t, fmt.Sprintf("process %d (", os.Getpid()))
			select {
			case err := <-ended:
				t.Fatalf("it did not wait: %v", err)
			default:
			}
			release()
			if err := <-ended; err != nil {
				t.Errorf("after the wait: %v", err)
			}
			if got := strings.Count(log.String(), "waiting:"); got != 1 {
				t.Errorf("it said %d times that it waits, want once:\n%s", got, log)
			}
		})
	}
}

// TestLockIsOfOneNamespace: a node has one init-redirect for each pod, and they do not wait
// for each other.
func TestLockIsOfOneNamespace(t *testing.T) {
	netnstest.RequireRoot(t)
	one, other := dualStackPod(t), dualStackPod(t)
	one.holdLock(t)
	cfg := configFor(shootCIDR(IPv4))
	log := newLines()
	opt := other.options(t, BackendNFT)
	opt.Logger = slog.New(slog.NewTextHandler(log, nil))
	if _, err := ApplyAndVerify(t.Context(), cfg, opt); err != nil || strings.Contains(log.String(), "waiting") {
		t.Errorf("apply in another namespace waited, or failed: %v\n%s", err, log)
	}
}
