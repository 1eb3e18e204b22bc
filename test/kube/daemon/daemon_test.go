// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// gone returns nil once no process has the id.
func gone(pid int) error {
	err := syscall.Kill(pid, 0)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return fmt.Errorf("process %d is there: %v", pid, err)
}

func TestStartRefusesWhatIsNoProgram(t *testing.T) {
	if p, err := Start("nothing", t.TempDir(), "/nowhere/at/all"); err == nil {
		p.Kill()
		t.Error("a program that does not exist was started")
	}
}

func TestWaitUntilEndsWithTheProcess(t *testing.T) {
	p, err := Start("short", t.TempDir(), "sh", "-c", "echo its last words; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	err = p.WaitUntil(within(t), "what never comes", func(context.Context) error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "its last words") {
		t.Errorf("the wait for a process that ended gave %v, want its exit status and log", err)
	}
}

func TestKillEndsTheWholeGroup(t *testing.T) {
	p, err := Start("parent", t.TempDir(), "sh", "-c", "sleep 600 & echo child $!; wait")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	child := 0
	err = p.WaitUntil(within(t), "its child", func(context.Context) error {
		_, err := fmt.Sscanf(p.Log(1), "child %d", &child)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := gone(p.PID()); err != nil {
		t.Error(err)
	}
	// The process that inherits the child notices its end a moment later.
	if err := lab.Poll(within(t), "the child's end", func(context.Context) error { return gone(child) }); err != nil {
		t.Error(err)
	}
}

func TestStopAsksFirst(t *testing.T) {
	const script = `trap 'echo asked; exit 0' TERM; sleep 600 & echo up; wait`
	p, err := Start("polite", t.TempDir(), "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	up := func(context.Context) error {
		if p.Log(1) != "up" {
			return errors.New("not yet")
		}
		return nil
	}
	if err := p.WaitUntil(within(t), "its trap", up); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(within(t)); err != nil {
		t.Error(err)
	}
	if said := p.Log(2); said != "up\nasked" {
		t.Errorf("its words were %q", said)
	}
}

// victim is an environment variable. If it is set, this test is the program that is
// killed.
const victim = "DAEMON_TEST_VICTIM"

func TestProcessDiesWithAKilledTest(t *testing.T) {
	if os.Getenv(victim) != "" {
		p, err := Start("orphan", t.TempDir(), "sleep", "600")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("started", p.PID())
		select {} // until this process is killed
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	// The child's temporary folder must lie in a folder of the test, because the child
	// cannot remove it.
	cmd.Env = append(os.Environ(), victim+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if number, found := strings.CutPrefix(lines.Text(), "started "); found {
			if pid, err = strconv.Atoi(number); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	if pid == 0 {
		t.Fatal("the victim did not start its process")
	}
	if err := lab.Poll(within(t), "the orphan's end", func(context.Context) error { return gone(pid) }); err != nil {
		t.Error(err)
	}
}

func TestHeldPort(t *testing.T) {
	port, err := HoldPort()
	if err != nil {
		t.Fatal(err)
	}
	defer port.Release()
	if conn, err := net.Dial("tcp", port.Address()); err == nil {
		conn.Close()
		t.Error("somebody answers at a port that is only held")
	}
	for range 2 { // a program, and the same program started again
		listener, err := net.Listen("tcp", port.Address())
		if err != nil {
			t.Fatalf("who knows the port does not get it: %v", err)
		}
		conn, err := net.Dial("tcp", port.Address())
		if err != nil {
			t.Fatalf("who listens there is not reached: %v", err)
		}
		conn.Close()
		listener.Close()
	}
	for range 200 {
		other, err := HoldPort()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Release()
		if other.Address() == port.Address() {
			t.Fatal("the port was given to somebody else")
		}
	}
}
