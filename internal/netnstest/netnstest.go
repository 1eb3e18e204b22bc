// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package netnstest gives tests real network namespaces.
//
// It owns the namespaces that it makes. Each has a random name, its loopback device is
// up, and it is removed when the test ends, also if the test fails. It never changes
// the namespace in which the test runs. Only tests import it.
//
//	netnstest.RequireRoot(t)
//	pod, router := netnstest.New(t), netnstest.New(t)
//	netnstest.Connect(t, pod, router, netnstest.IPv4)
//	pod.Run(t, "iptables", "-t", "nat", "-S")
//	pod.Do(t, func() { listener, err = net.Listen("tcp", "127.0.0.1:14001") })
package netnstest

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
)

// namespaceFolder is the folder of iproute2's named namespaces (ip-netns(8)).
const namespaceFolder = "/run/netns"

// RequireRoot skips a test that needs root, if the test does not run as root. If the
// environment has REQUIRE_ROOT=1, as in CI, the test fails instead: a test that did not
// run has not passed. With -short it skips the test also for root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short leaves out what needs root")
	}
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatal("needs root to make network namespaces, and REQUIRE_ROOT=1 forbids to skip")
	}
	t.Skip("SKIPPED: needs root to make network namespaces; run as root, or `make test`")
}

// NS is one network namespace.
type NS struct {
	// Name is its name for `ip netns`.
	Name string
}

// New makes a namespace with its loopback device up, and removes it when the test ends.
func New(t testing.TB) *NS {
	t.Helper()
	suffix := make([]byte, 4)
	if _, err := rand.Read(suffix); err != nil {
		t.Fatalf("name a network namespace: %v", err)
	}
	n := &NS{Name: "pc-" + hex.EncodeToString(suffix)}
	host(t, "ip", "netns", "add", n.Name)
	t.Cleanup(func() { host(t, "ip", "netns", "delete", n.Name) })
	host(t, "ip", "-n", n.Name, "link", "set", "lo", "up")
	return n
}

// Path returns the file of the namespace, as `--netns` takes it.
func (n *NS) Path() string { return filepath.Join(namespaceFolder, n.Name) }

// Do runs fn inside the namespace, on the calling goroutine. Sockets that fn makes stay
// in the namespace after Do returns. Goroutines that fn starts do not run in it. fn may
// end the test.
func (n *NS) Do(t testing.TB, fn func()) {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		t.Fatalf("read the test's own network namespace: %v", err)
	}
	defer func() {
		defer home.Close()
		if err := netns.Set(home); err != nil {
			// The thread stays locked, so that it ends with its goroutine. Otherwise
			// another test could run in this namespace.
			t.Errorf("return to the test's own network namespace: %v", err)
			return
		}
		runtime.UnlockOSThread()
	}()
	there, err := netns.GetFromPath(n.Path())
	if err != nil {
		t.Fatalf("open network namespace %s: %v", n.Name, err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		t.Fatalf("enter network namespace %s: %v", n.Name, err)
	}
	fn()
}

// Command prepares a process that will run inside the namespace. Its mounts are the
// host's, except those in /etc/netns/NAME (there are none).
func (n *NS) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + n.Path(), "--", name}, args...)...)
}

// Run runs a command inside the namespace, and returns what it wrote to both outputs.
// It fails the test if the command fails.
func (n *NS) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := n.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("in network namespace %s: %s %q: %v\n%s", n.Name, name, args, err, out)
	}
	return string(out)
}

// Family is an IP family.
type Family int

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// PodAddress returns the address that Connect gives to the pod.
func PodAddress(f Family) netip.Addr {
	if f == IPv6 {
		return netip.MustParseAddr("fdcc:99::2")
	}
	return netip.MustParseAddr("10.99.0.2")
}

// RouterAddress returns the address that Connect gives to the router. It is the pod's
// default gateway.
func RouterAddress(f Family) netip.Addr {
	if f == IPv6 {
		return netip.MustParseAddr("fdcc:99::1")
	}
	return netip.MustParseAddr("10.99.0.1")
}

// Connect connects pod and router by a veth pair: eth0 in the pod and pod0 in the
// router. It gives the pod a default route in each of families. In other families the
// pod keeps the kernel's link-local address (IPv6) or none (IPv4).
func Connect(t testing.TB, pod, router *NS, families ...Family) {
	t.Helper()
	host(t, "ip", "link", "add", "eth0", "netns", pod.Name, "type", "veth", "peer", "name", "pod0", "netns", router.Name)
	host(t, "ip", "-n", router.Name, "link", "set", "pod0", "up")
	host(t, "ip", "-n", pod.Name, "link", "set", "eth0", "up")
	for _, f := range families {
		length, version := "/24", "-4"
		flags := []string(nil)
		if f == IPv6 {
			length, version = "/64", "-6"
			flags = []string{"nodad"}
		}
		host(t, "ip", append([]string{"-n", router.Name, version, "address", "add", RouterAddress(f).String() + length, "dev", "pod0"}, flags...)...)
		host(t, "ip", append([]string{"-n", pod.Name, version, "address", "add", PodAddress(f).String() + length, "dev", "eth0"}, flags...)...)
		host(t, "ip", "-n", pod.Name, version, "route", "add", "default", "via", RouterAddress(f).String())
	}
}

// host runs a command outside the test's namespaces.
func host(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
