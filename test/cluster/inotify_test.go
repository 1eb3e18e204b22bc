// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/cluster/control"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// fewInstances is an environment variable. If it is set, the test is the program that has
// few instances. It holds their number.
const fewInstances = "INOTIFY_TEST_INSTANCES"

// TestTooFewInotifyInstancesAreSaid: the limit is that of a user namespace
// (user_namespaces(7), /proc/sys/user). The machine's limit is not changed.
func TestTooFewInotifyInstancesAreSaid(t *testing.T) {
	if few := os.Getenv(fewInstances); few != "" {
		if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte(few), 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Println("said:", enoughInotifyInstances())
		return
	}
	var err error
	if os.Geteuid() != 0 {
		err = fmt.Errorf("a user namespace with two users needs root")
	}
	labtest.Require(t, err)
	if err := enoughInotifyInstances(); err != nil {
		t.Errorf("without a limit of its own: %v", err)
	}
	for few, want := range map[string]string{
		"4":  " has 4 inotify instances free of the ",
		"99": "<nil>",
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), fewInstances+"="+few)
		ids := []syscall.SysProcIDMap{{Size: 1}, {ContainerID: control.User, HostID: control.User, Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if !strings.Contains(string(out), "said: ") || !strings.Contains(string(out), want) {
			t.Errorf("with %s instances the start says %s", few, out)
		}
		if few == "4" && !strings.Contains(string(out), "sysctl "+inotifyLimit+"=") {
			t.Errorf("the error does not say what to set: %s", out)
		}
	}
}
