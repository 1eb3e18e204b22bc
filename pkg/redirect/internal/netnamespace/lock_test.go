// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netnamespace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWaitForTheLockEnds(t *testing.T) {
	netnstest.RequireRoot(t)
	pod := netnstest.New(t)
	var lock net.Listener
	var err error
	pod.Do(t, func() { lock, err = net.Listen("unix", LockName) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	take := func(ctx context.Context) (err error) {
		pod.Do(t, func() { _, err = Lock(ctx, slog.New(slog.DiscardHandler), lockRetry) })
		return err
	}
	var kernel *kernelerror.Error
	if err := take(t.Context()); !errors.Is(err, kernelerror.ErrBusy) || !errors.As(err, &kernel) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (", os.Getpid())) {
		t.Errorf("a lock that another process keeps gave %v, want ErrBusy and the holder", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that was cancelled got %v", err)
	}
}
