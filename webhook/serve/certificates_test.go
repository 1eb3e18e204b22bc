// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inotifyGone tells this process that it cannot get an inotify instance.
const inotifyGone = "TEST_INOTIFY_GONE"

// A webhook on a node without a free inotify instance serves, and uses a new
// certificate. The test runs itself again in a user namespace without any, independent
// of the machine's limits.
func TestCertificatesNeedNoInotify(t *testing.T) {
	if os.Getenv(inotifyGone) == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
		again.Env = append(os.Environ(), inotifyGone+"=1")
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		groups := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: groups}
		out, err := again.CombinedOutput()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
			skipUnlessRoot(t, err)
		}
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("without inotify: %v\n%s", err, out)
		}
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	if fd, err := unix.InotifyInit1(unix.IN_CLOEXEC); err == nil {
		unix.Close(fd)
		t.Fatal("there is an inotify instance left")
	}
	r := start(t, plainSources(t), noWait)
	body := review(t, creation(t, labelled()))
	for _, serial := range []string{"1", "2"} {
		if serial == "2" {
			r.ca.issue(r.certs, 2, time.Now().Add(time.Hour))
		}
		r.eventually("certificate "+serial+" is in use", func() bool {
			client := r.client()
			defer client.CloseIdleConnections()
			got, err := r.send(client, body)
			return err == nil && got == serial
		})
	}
	r.stop()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// skipUnlessRoot skips a test if user namespaces need root.
func skipUnlessRoot(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatalf("%s cannot run, and REQUIRE_ROOT=1 forbids skipping it: %v", t.Name(), err)
	}
	t.Skipf("SKIPPED: %s needs a user namespace: %v", t.Name(), err)
}

// A certificate that cannot be used is logged once. It is not logged if the files were
// only read while they changed.
func TestABadCertificateIsToldOfOnce(t *testing.T) {
	r := start(t, plainSources(t), noWait)
	r.certs.replace(map[string][]byte{"tls.crt": []byte("no"), "tls.key": []byte("certificate")})
	const complaint = "the certificate has changed and cannot be used"
	r.eventually("it is told", func() bool { return strings.Contains(r.log.String(), complaint) })
	r.ca.issue(r.certs, 7, time.Now().Add(time.Hour))
	r.eventually("the next one is in use", func() bool {
		cert, err := r.server.certs.get(nil)
		return err == nil && cert.Leaf.SerialNumber.Int64() == 7
	})
	if n := strings.Count(r.log.String(), complaint); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, r.log)
	}
	r.stop()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}
