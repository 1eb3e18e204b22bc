// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSet(t testing.TB, shoot, exclude string) *cidr.Set {
	t.Helper()
	in, err := cidr.Parse("--shoot-pod-cidr", strings.Fields(shoot))
	if err != nil {
		t.Fatal(err)
	}
	out, err := cidr.Parse("--exclude-cidr", strings.Fields(exclude))
	if err != nil {
		t.Fatal(err)
	}
	set, err := cidr.New(in, out)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// The expected ports are literal numbers: a release that derives other ports would not
// recognise the probe of the release before it.
func TestPortIsTheSameInEveryReleaseAndForEveryWayToWriteASet(t *testing.T) {
	for _, tt := range []struct {
		shoot, exclude string
		want           uint16
	}{
		{"100.64.0.0/12", "", 23469},
		{"100.64.0.0/13 100.72.0.0/13", "", 23469},
		{"100.72.0.0/13 100.64.0.0/13 100.65.0.0/16", "192.168.0.0/16", 23469},
		{"100.64.0.0/12", "100.64.0.53/32", 21836},
		{"100.64.0.0/12 fd00:10::/48", "", 23564},
	} {
		if got := Port(newSet(t, tt.shoot, tt.exclude)); got != tt.want {
			t.Errorf("Port(%s minus %s) = %d, want %d: init-redirect and proxy-client of different releases would not understand each other", tt.shoot, tt.exclude, got, tt.want)
		}
	}
}

func TestPortStaysInItsRange(t *testing.T) {
	for i := range 256 {
		if port := Port(newSet(t, fmt.Sprintf("10.%d.0.0/16", i), "")); port < 20000 || port > 29999 {
			t.Fatalf("port %d is not one of 20000 to 29999 and may collide with ephemeral ports or those of other meshes", port)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, tt := range []struct {
		name, shoot, exclude string
		want                 []string
	}{
		{"IPv4", "100.64.0.0/12", "", []string{"192.0.2.1:23469"}},
		{"both", "100.64.0.0/12 fd00:10::/48", "", []string{"192.0.2.1:23564", "[2001:db8::1]:23564"}},
		{"IPv6", "fd00:10::/48", "", []string{"[2001:db8::1]:23300"}},
		{"a family that is excluded has no rules to probe", "100.64.0.0/12 fd00:10::/48", "fd00::/16", []string{"192.0.2.1:23469"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := newSet(t, tt.shoot, tt.exclude)
			var got []string
			for _, target := range Targets(set) {
				got = append(got, target.String())
				if !IsTarget(set, target) {
					t.Errorf("the set does not recognise its own target %s", target)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInside(t *testing.T) {
	for _, tt := range []struct {
		name, shoot, exclude string
		want                 []string
	}{
		{"the network's own address", "100.64.0.0/12 10.250.0.0/16 fd00:10::/48", "", []string{"10.250.0.0", "100.64.0.0", "fd00:10::"}},
		{"one probe for what is aggregated", "10.0.0.0/16 10.1.0.0/16", "", []string{"10.0.0.0"}},
		{"one and two addresses are targets", "10.0.0.1/32 10.0.0.4/31 fd00::5/128 fd00::8/127", "", nil},
		{"four are a network", "10.0.0.4/30 fd00::8/126", "", []string{"10.0.0.4", "fd00::8"}},
		{"behind what is excluded", "10.0.0.0/16", "10.0.0.0/24", []string{"10.0.1.0"}},
		{"not in what an exclusion leaves of one address", "10.0.0.0/29", "10.0.0.0/32", []string{"10.0.0.4"}},
		{"nothing is left that is a network", "10.0.0.0/30", "10.0.0.0/32", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := newSet(t, tt.shoot, tt.exclude)
			var got []string
			for _, target := range Inside(set) {
				got = append(got, target.Addr().String())
				if !IsTarget(set, target) || !set.Contains(target.Addr()) || target.Port() != Port(set) {
					t.Errorf("%s is no probe of the set", target)
				}
				if next := netip.AddrPortFrom(target.Addr(), target.Port()+1); IsTarget(set, next) {
					t.Errorf("%s is taken for the probe", next)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("targets inside of the CIDRs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIsTarget(t *testing.T) {
	set := newSet(t, "100.64.0.0/12", "")
	for dst, want := range map[string]bool{
		"192.0.2.1:23469":          true,
		"[::ffff:192.0.2.1]:23469": true, // a dual-stack listener
		"192.0.2.1:23470":          false,
		"192.0.2.2:23469":          false,
		"[2001:db8::1]:23469":      false, // no IPv6 in the set
		"100.64.0.1:23469":         false,
		"127.0.0.1:14001":          false,
	} {
		if got := IsTarget(set, netip.MustParseAddrPort(dst)); got != want {
			t.Errorf("IsTarget(%s) = %v, want %v", dst, got, want)
		}
	}
	if IsTarget(set, netip.AddrPort{}) {
		t.Error("the zero address is taken for the probe")
	}
}

// listen accepts one connection and serves it. The test waits for the end.
func listen(t *testing.T, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn.(*net.TCPConn))
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestCheckNamesTheLikelyCause(t *testing.T) {
	closed := listen(t, func(*net.TCPConn) {})
	closedPort, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := closedPort.Addr().(*net.TCPAddr).AddrPort()
	closedPort.Close()

	for _, tt := range []struct {
		name   string
		target netip.AddrPort
		want   []string
	}{
		{"nobody listens", refused, []string{"connection refused", "nothing listens where the connection was led", "another table", "on another port than init-redirect"}},
		{"closed at once", closed, []string{"closed without an answer", "exclusions most likely differ", "differ"}},
		{"reset", listen(t, func(c *net.TCPConn) { _ = c.SetLinger(0) }), []string{"reset by peer", "differ from those of init-redirect"}},
		{"somebody else", listen(t, write("HTTP/1.1 400 Bad Request\r\n")), []string{`"HTTP/1.1 400 Bad Request\r\n"`, "another program listens"}},
		{"cut off", listen(t, write("shoot-proxy probe 192.0.2.1:1")), []string{"another program listens"}},
		{"endless", listen(t, write(strings.Repeat("shoot-proxy probe ", 100))), []string{"another program listens"}},
		{"other destination", listen(t, write("shoot-proxy probe 127.0.0.1:14001\n")), []string{"saw a connection to 127.0.0.1:14001", "conntrack"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkFailure(t, Check(t.Context(), tt.target), tt.target, tt.want)
		})
	}
}

func write(s string) func(*net.TCPConn) {
	return func(c *net.TCPConn) { _, _ = c.Write([]byte(s)) }
}

func checkFailure(t *testing.T, err error, target netip.AddrPort, want []string) {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("a redirect that does not work passed the check, or failed without a cause: %v", err)
	}
	if failed.Target != target || failed.Err == nil {
		t.Errorf("the error forgot its target or what happened: %#v", failed)
	}
	for _, part := range append(want, "probe "+target.String()) {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the operator is not told %q:\n%v", part, err)
		}
	}
}

// A lost packet and a listener without an answer have different cures.
func TestCheckEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	mute := listen(t, func(*net.TCPConn) { <-release })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	checkFailure(t, Check(ctx, mute), mute, []string{"no answer came in time", "another program listens"})
	close(release)

	accepted, end := make(chan struct{}), make(chan struct{})
	silent := listen(t, func(*net.TCPConn) { close(accepted); <-end })
	ctx, stop := context.WithCancel(t.Context())
	go func() { <-accepted; stop() }()
	err := Check(ctx, silent)
	close(end)
	var failed *Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &failed) {
		t.Errorf("a cancelled check must not accuse the redirect: %v", err)
	}
}

func TestCause(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{dial(syscall.ECONNREFUSED), "nothing listens"},
		{dial(syscall.ECONNRESET), "differ from those of init-redirect"},
		{dial(syscall.ENETUNREACH), "no route or address of this family"},
		{dial(syscall.EADDRNOTAVAIL), "no route or address of this family"},
		{dial(syscall.EAFNOSUPPORT), "disable_ipv6"},
		{dial(syscall.EHOSTUNREACH), "was not redirected"},
		{dial(syscall.ETIMEDOUT), "was not redirected"},
		{context.DeadlineExceeded, "`init-redirect apply`"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}, "was not redirected"},
		{dial(syscall.EPERM), "forbids"},
		{dial(syscall.EACCES), "forbids"},
		{errNoAnswer, "another program listens"},
		{ErrSilent, "differ"},
		{dial(syscall.EMFILE), "init-redirect dump"},
	} {
		if got := cause(tt.err); !strings.Contains(got, tt.want) {
			t.Errorf("%v: the operator is told %q, want something about %q", tt.err, got, tt.want)
		}
	}
}

func TestAnswerPassesTheCheck(t *testing.T) {
	for _, seen := range []func(netip.AddrPort) netip.AddrPort{
		func(a netip.AddrPort) netip.AddrPort { return a },
		func(a netip.AddrPort) netip.AddrPort { // a dual-stack listener
			return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
		},
	} {
		answered := make(chan error, 1)
		var target netip.AddrPort
		ready := make(chan struct{})
		target = listen(t, func(c *net.TCPConn) { <-ready; answered <- Answer(c, seen(target)) })
		close(ready)
		if err := Check(t.Context(), target); err != nil {
			t.Errorf("a working redirect is reported as broken: %v", err)
		}
		if err := <-answered; err != nil {
			t.Errorf("Answer: %v", err)
		}
	}
}

// A dead peer must neither block the accept loop's goroutine nor leak a socket.
func TestAnswerClosesTheConnectionWhateverHappens(t *testing.T) {
	here, there := net.Pipe()
	there.Close()
	if err := Answer(here, netip.MustParseAddrPort("192.0.2.1:20000")); err == nil || !strings.Contains(err.Error(), "192.0.2.1:20000") {
		t.Errorf("Answer on a dead connection returned %v, want an error that names the probe", err)
	}
	if _, err := here.Write([]byte("x")); err == nil {
		t.Error("Answer left the connection open")
	}
}

func FuzzParseLine(f *testing.F) {
	for _, seed := range []string{
		"shoot-proxy probe 192.0.2.1:21836\n", "shoot-proxy probe [2001:db8::1]:21836\n", "shoot-proxy probe [::ffff:192.0.2.1]:1\n",
		"shoot-proxy probe 192.0.2.1:021836\n", "shoot-proxy probe [fe80::1%eth0]:1\n", "shoot-proxy probe \n", "HTTP/1.1 200 OK\r\n", "", "\n", "shoot-proxy probe 192.0.2.1:21836\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		dst, err := parseLine(answer)
		if err != nil {
			return
		}
		if !dst.IsValid() || string(answerLine(dst)) != string(answer) {
			t.Fatalf("%q was taken for an answer about %s, which is written %q", answer, dst, answerLine(dst))
		}
	})
}

func FuzzLine(f *testing.F) {
	f.Add([]byte{192, 0, 2, 1}, uint16(20000))
	f.Add([]byte{0x20, 1, 0xd, 0xb8, 15: 1}, uint16(29999))
	f.Fuzz(func(t *testing.T, address []byte, port uint16) {
		a, ok := netip.AddrFromSlice(address)
		if !ok {
			t.Skip()
		}
		dst := netip.AddrPortFrom(a, port)
		got, err := parseLine(answerLine(dst))
		if err != nil || got != unmap(dst) {
			t.Fatalf("the answer %q about %s is read as %s, %v", answerLine(dst), dst, got, err)
		}
	})
}
