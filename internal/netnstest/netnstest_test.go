// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netnstest_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

func TestNamespaceIsSeparateAndRemoved(t *testing.T) {
	netnstest.RequireRoot(t)
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var path string
	t.Run("inside", func(t *testing.T) {
		pod, router := netnstest.New(t), netnstest.New(t)
		netnstest.Connect(t, pod, router, netnstest.IPv4, netnstest.IPv6)
		path = pod.Path()

		var inside string
		var names []string
		pod.Do(t, func() {
			inside, err = os.Readlink("/proc/thread-self/ns/net")
			interfaces, _ := net.Interfaces()
			for _, i := range interfaces {
				names = append(names, i.Name)
			}
		})
		if err != nil || inside == before {
			t.Errorf("Do ran in the test's own network namespace: %s, %v", inside, err)
		}
		if got := strings.Join(names, " "); got != "lo eth0" {
			t.Errorf("interfaces in the pod's namespace are %q, want lo and eth0", got)
		}
		pod.Run(t, "ping", "-c1", "-W5", netnstest.RouterAddress(netnstest.IPv4).String())
		pod.Run(t, "ping", "-c1", "-W5", netnstest.RouterAddress(netnstest.IPv6).String())
	})
	if after, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || after != before {
		t.Errorf("after Do the test runs in %s, want %s (%v)", after, before, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the namespace outlived its test: stat %s: %v", path, err)
	}
}

func TestCommandIsNotStarted(t *testing.T) {
	netnstest.RequireRoot(t)
	pod := netnstest.New(t)
	cmd := pod.Command("sh", "-c", "exit 7")
	err := cmd.Run()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 7 {
		t.Errorf("the exit code of a command inside a namespace is lost: %v, want 7", err)
	}
}
