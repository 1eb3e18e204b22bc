// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestCaptureSeesWhatLeavesThePod: a capture must see the packets that tests ask about.
// Otherwise a capture without packets proves nothing.
func TestCaptureSeesWhatLeavesThePod(t *testing.T) {
	l, _ := labtest.New(t, lab.Options{})
	ctx := labtest.Context(t, time.Minute)
	capture, err := l.CapturePod()
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Close()
	for _, f := range lab.DualStack.Each() {
		if err := l.Unreachable(ctx, lab.ShootPod(f, 1), target.HTTPPort); err != nil {
			t.Fatal(err)
		}
		packets, err := capture.Packets(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := lab.Packet{Src: lab.PodAddress(f), Dst: lab.ShootPod(f, 1), Protocol: 6, DstPort: target.HTTPPort}
		shoot := lab.ForShoot(packets)
		if len(shoot) == 0 {
			t.Fatalf("%s: the capture has not seen the attempt to reach the shoot, only %v", f, packets)
		}
		if diff := cmp.Diff(want, shoot[0], cmp.Comparer(func(a, b lab.Packet) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
	}
	packets, err := capture.Packets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if shoot := lab.ForShoot(packets); len(shoot) != 0 {
		t.Errorf("packets for the shoot where nobody sent any: %v", shoot)
	}
}

func TestPrometheusAndSSHD(t *testing.T) {
	l, _ := labtest.New(t, lab.Options{})
	ctx := labtest.Context(t, time.Minute)
	hostKey, err := l.StartSSHD(ctx)
	if err != nil {
		t.Fatal(err)
	}
	scan, err := l.Shoot.Run(ctx, lab.Command{Path: "ssh-keyscan", Args: []string{"-t", "ed25519", lab.ShootNode(lab.IPv4).String()}, UID: lab.AppUID})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(scan.Stdout, hostKey) {
		t.Errorf("ssh-keyscan inside the shoot says %q, want the key %q", scan.Stdout, hostKey)
	}

	// The pod reaches the first target, and does not reach the second.
	far := net.JoinHostPort(lab.ShootPod(lab.IPv6, 1).String(), fmt.Sprint(target.HTTPPort))
	local, err := target.Listen(func(network, _ string) (net.Listener, error) { return l.Pod.Listen(network, ":0") })
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	near := net.JoinHostPort(lab.PodAddress(lab.IPv4).String(), fmt.Sprint(local.HTTPAddr().(*net.TCPAddr).Port))
	prometheus, err := l.StartPrometheus(ctx, time.Second, map[string][]string{"near": {near}, "far": {far}})
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Poll(ctx, "Prometheus to have scraped", func(ctx context.Context) error {
		got := map[string]float64{}
		samples, err := prometheus.Query(ctx, "up")
		if err != nil {
			return err
		}
		for _, s := range samples {
			got[s.Labels["job"]] = s.Value
		}
		if diff := cmp.Diff(map[string]float64{"near": 1, "far": 0}, got); diff != "" {
			return fmt.Errorf("up is %s", diff)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDetachedLabIsRemovedByItsState tests `demo --keep` and `demo down`. A detached lab
// outlives the program that made it. Its state file is enough to remove it.
func TestDetachedLabIsRemovedByItsState(t *testing.T) {
	labtest.RequireRoot(t)
	ctx := labtest.Context(t, time.Minute)
	l, err := lab.New(ctx, lab.Options{Detached: true})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state.json")
	if err := l.Detach(path); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.Server.Exited():
		t.Error("the server ended with Detach")
	default:
	}
	if got := len(lab.Leftovers()); got != 4 {
		t.Errorf("%d namespaces and folders stand after Detach, want 4", got)
	}
	if err := lab.Remove(path); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	if left := lab.Leftovers(); len(left) != 0 {
		t.Errorf("left on the machine: %q", left)
	}
	if _, err := l.Server.Wait(ctx); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the state file is still there: %v", err)
	}
}

func TestParseMetrics(t *testing.T) {
	got := lab.ParseMetrics("# HELP a b\n# TYPE a counter\na{x=\"1 2\"} 3\na{x=\"y\"} 4\nb 1e+06\nbroken\nc NaN-ish\n")
	want := lab.Metrics{`a{x="1 2"}`: 3, `a{x="y"}`: 4, "b": 1e6}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if sum := got.Sum("a"); sum != 7 {
		t.Errorf("Sum(a) = %v, want 7", sum)
	}
}
