// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// hang bounds a wait for which no flag promises a time.
const hang = 30 * time.Second

func TestMain(m *testing.M) {
	if size := os.Getenv(crowdVariable); size != "" {
		if err := beCrowd(size); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if connections := os.Getenv(watcherVariable); connections != "" {
		fmt.Fprintln(os.Stderr, beWatcher(connections))
		os.Exit(1)
	}
	code := m.Run()
	if left := lab.Leftovers(); len(left) != 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the tests left on the machine: %q\n", left)
		code = max(code, 1)
	}
	os.Exit(code)
}

// rig is a lab in which the product works.
type rig struct {
	*lab.Lab
	targets *target.Targets
	sidecar *lab.Process
	opts    lab.Options
}

// newRig builds a lab and proves that the shoot cannot be reached. Then it applies the
// redirect and starts the sidecar with additional flags.
func newRig(t testing.TB, opts lab.Options, flags ...string) *rig {
	t.Helper()
	r := newBareRig(t, opts)
	r.apply(t)
	r.start(t, flags...)
	return r
}

// newBareRig does the same as newRig, without the product.
func newBareRig(t testing.TB, opts lab.Options) *rig {
	t.Helper()
	labtest.RequireRoot(t)
	if err := opts.CheckProduct(); err != nil {
		t.Fatal(err)
	}
	if opts.ShootFamilies == 0 {
		opts.ShootFamilies = lab.DualStack
	}
	r := &rig{opts: opts}
	r.Lab, r.targets = labtest.New(t, opts)
	for _, f := range opts.ShootFamilies.Each() {
		if err := r.Unreachable(labtest.Context(t, hang), lab.ShootPod(f, 1), target.HTTPPort); err != nil {
			t.Fatalf("the control experiment failed, so this lab proves nothing: %v", err)
		}
	}
	return r
}

func (r *rig) apply(t testing.TB, extra ...string) {
	t.Helper()
	if _, err := r.InitRedirect(labtest.Context(t, hang), "apply", extra...); err != nil {
		t.Fatalf("init-redirect apply: %v", err)
	}
}

func (r *rig) start(t testing.TB, flags ...string) {
	t.Helper()
	sidecar, err := r.StartProxyClient(labtest.Context(t, hang), flags...)
	if err != nil {
		t.Fatalf("start proxy-client: %v", err)
	}
	r.sidecar = sidecar
}

// app runs a command in the pod as an ordinary user.
func (r *rig) app(ctx context.Context, stdin io.Reader, stdout io.Writer, path string, args ...string) (lab.Result, error) {
	return r.Pod.Run(ctx, lab.Command{Path: path, Args: args, UID: lab.AppUID, Stdin: stdin, Stdout: stdout})
}

// dial opens a connection as an app in the pod.
func (r *rig) dial(ctx context.Context, addr netip.Addr, port int) (*net.TCPConn, error) {
	conn, err := r.Pod.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), fmt.Sprint(port)))
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	return conn.(*net.TCPConn), nil
}

// wantReset opens a connection and expects a reset before any byte. It must come before
// limit, which is a guard against hanging unless a flag promises it.
func (r *rig) wantReset(t testing.TB, addr netip.Addr, port int, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := r.dial(ctx, addr, port)
	var got []byte
	if err == nil {
		defer conn.Close()
		got, err = io.ReadAll(conn)
	}
	if !errors.Is(err, syscall.ECONNRESET) || len(got) != 0 {
		t.Errorf("a connection to %s port %d ended with %q and error %v, want a reset", addr, port, got, err)
	}
}

// metrics reads the sidecar's metrics.
func (r *rig) metrics(t testing.TB) lab.Metrics {
	t.Helper()
	m, err := r.SidecarMetrics(labtest.Context(t, hang))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// eventually is [labtest.Eventually] with the limit of these tests.
func eventually(t testing.TB, what string, condition func(ctx context.Context) error) {
	t.Helper()
	labtest.Eventually(t, hang, what, condition)
}

// increases returns what has grown between two readings of one metric, by its
// label part: {`reason="refused"`: 1}.
func increases(metric string, before, after lab.Metrics) map[string]float64 {
	grown := map[string]float64{}
	for series, value := range after {
		name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		if name == metric && value != before[series] {
			grown[labels] = value - before[series]
		}
	}
	return grown
}

// wantCounted waits until a metric has grown by one under one reason since a reading, and
// under no other. It waits because an app may see its reset before the sidecar counts it.
func (r *rig) wantCounted(t testing.TB, metric string, before lab.Metrics, reason string) {
	t.Helper()
	want := map[string]float64{fmt.Sprintf("reason=%q", reason): 1}
	eventually(t, metric+" to count what happened", func(ctx context.Context) error {
		after, err := r.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, increases(metric, before, after)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// kinds returns the addresses of a pod, a service and a node of the shoot.
func kinds(f lab.Families) []netip.Addr {
	return []netip.Addr{lab.ShootPod(f, 1), lab.ShootService(f), lab.ShootNode(f)}
}

// scale returns n, or a hundredth of it in a short run.
func scale(n int64) int64 {
	if testing.Short() {
		return n / 100
	}
	return n
}
