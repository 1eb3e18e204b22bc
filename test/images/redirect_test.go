// SPDX-License-Identifier: Apache-2.0

package images

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

// unpack writes the files of an image into a folder, as root with their owners.
func unpack(t testing.TB, image v1.Image) string {
	t.Helper()
	folder := t.TempDir()
	stream := mutate.Extract(image)
	defer stream.Close()
	cmd := exec.Command("tar", "--extract", "--same-permissions", "--directory", folder)
	cmd.Stdin = stream
	run(t, cmd)
	return folder
}

// container runs programs of an image as a pod's container would. They have the image's
// files, which they cannot change, /proc, /dev/null, and an empty /run. They run as root
// with a few capabilities.
type container struct {
	pod          *netnstest.NS
	root         string
	path         string // PATH of the image
	capabilities string
}

func newContainer(t *testing.T, pod *netnstest.NS, capabilities string) container {
	t.Helper()
	image, configuration := open(t, "init-redirect").image(t, runtime.GOARCH)
	c := container{pod: pod, root: unpack(t, image), capabilities: capabilities}
	for _, variable := range configuration.Config.Env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			c.path = value
		}
	}
	// A container runtime also makes these folders: the image need not have them.
	for _, folder := range []string{"/proc", "/dev"} {
		if err := os.Mkdir(c.root+folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// command prepares a program of the image. The mounts end with it.
func (c container) command(program string, args ...string) *exec.Cmd {
	const script = `
		root=$1 path=$2 capabilities=$3 program=$4
		shift 4
		mount --bind "$root" "$root"
		mount -o remount,bind,ro "$root"
		mount -t proc proc "$root/proc"
		mount -t tmpfs tmpfs "$root/run"
		mount -t tmpfs tmpfs "$root/dev"
		: >"$root/dev/null"
		mount --bind /dev/null "$root/dev/null"
		drop=$(capsh --decode="$(sed -n 's/^CapBnd:\t//p' /proc/self/status)" | sed 's/.*=//')
		for keep in $capabilities; do
			drop=$(tr , '\n' <<<"$drop" | grep -vx "$keep" | paste -sd,)
		done
		exec env -i PATH="$PATH" capsh --no-new-privs --drop="$drop" --chroot="$root" --shell="$program" -- "$@"`
	// capsh does not search PATH inside the root, as a container runtime would.
	for _, folder := range strings.Split(c.path, ":") {
		if _, err := os.Stat(c.root + folder + "/" + program); err == nil {
			program = folder + "/" + program
			break
		}
	}
	return c.pod.Command("unshare", append([]string{"--mount", "bash", "-euo", "pipefail", "-c", script, "container", c.root, c.path, c.capabilities, program}, args...)...)
}

// run runs a program of the image and returns its output. The program must end with that
// exit code.
func (c container) run(t *testing.T, code int, program string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := c.command(program, args...)
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s %q: exit code %d, want %d\n%s%s", program, args, got, code, out.String(), problems.String())
	}
	return out.String(), problems.String()
}

// TestInitRedirectWorksOnTheFilesOfItsImage: the image has everything that init-redirect
// calls, in both backends and both families. The capabilities that README.md names are
// enough.
func TestInitRedirectWorksOnTheFilesOfItsImage(t *testing.T) {
	netnstest.RequireRoot(t)
	for backend, capabilities := range map[string]string{"nft": "cap_net_admin", "legacy": "cap_net_admin cap_net_raw"} {
		t.Run(backend, func(t *testing.T) {
			pod, router := netnstest.New(t), netnstest.New(t)
			netnstest.Connect(t, pod, router, netnstest.IPv4, netnstest.IPv6)
			c := newContainer(t, pod, capabilities)
			flags := []string{"--iptables=" + backend, "--shoot-pod-cidr=100.64.0.0/12,fd00:10::/48"}
			do := func(code int, command string) (stdout, stderr string) {
				t.Helper()
				return c.run(t, code, "init-redirect", append([]string{command}, flags...)...)
			}
			const notVerified = 4 // from README.md's table of exit codes
			do(notVerified, "verify")
			do(0, "apply")
			do(0, "verify")
			redirected(t, pod, "100.64.0.1:80", fmt.Sprintf("127.0.0.1:%d", defaults.ProxyPort))
			redirected(t, pod, "[fd00:10::1]:80", fmt.Sprintf("[::1]:%d", defaults.ProxyPort))

			// Rules of another program, with extensions that our rules do not use, must
			// also be readable.
			for _, program := range []string{"iptables-" + backend, "ip6tables-" + backend} {
				c.run(t, 0, program, "-A", "INPUT", "-m", "statistic", "--mode", "nth", "--every", "3", "--packet", "0", "-m", "hashlimit",
					"--hashlimit-above", "5/sec", "--hashlimit-name", "x", "-m", "comment", "--comment", "not ours", "-j", "MARK", "--set-mark", "1")
			}
			do(0, "verify")
			checkDump(t, c, backend)

			do(0, "clean")
			for _, program := range []string{"iptables-" + backend + "-save", "ip6tables-" + backend + "-save"} {
				if rules, _ := c.run(t, 0, program); strings.Contains(rules, "PROXY_CLIENT") || !strings.Contains(rules, "not ours") {
					t.Errorf("%s after clean:\n%s", program, rules)
				}
			}
		})
	}
}

// TestLegacyNeedsNetRaw: the other tests would prove little if every capability were
// there.
func TestLegacyNeedsNetRaw(t *testing.T) {
	netnstest.RequireRoot(t)
	pod, router := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(t, pod, router, netnstest.IPv4)
	c := newContainer(t, pod, "cap_net_admin")
	if _, stderr := c.run(t, 3, "init-redirect", "apply", "--iptables=legacy", "--shoot-pod-cidr=100.64.0.0/12"); !strings.Contains(stderr, "NET_RAW") {
		t.Errorf("apply does not name the capability that is missing:\n%s", stderr)
	}
}

// redirected connects from the pod to an address of the shoot, and accepts at the address
// where proxy-client would listen.
func redirected(t *testing.T, pod *netnstest.NS, to, at string) {
	t.Helper()
	pod.Do(t, func() {
		listener, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatalf("listen where proxy-client does: %v", err)
		}
		defer listener.Close()
		conn, err := net.DialTimeout("tcp", to, time.Minute)
		if err != nil {
			t.Fatalf("connect to the shoot: %v", err)
		}
		defer conn.Close()
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatalf("accept a redirected connection: %v", err)
		}
		defer accepted.Close()
		if got, want := accepted.RemoteAddr().String(), conn.LocalAddr().String(); got != want {
			t.Errorf("%s accepted a connection from %s, want %s", at, got, want)
		}
	})
}

// checkDump compares the counters with the two connections that were made.
func checkDump(t *testing.T, c container, backend string) {
	t.Helper()
	text, _ := c.run(t, 0, "init-redirect", "dump", "--iptables="+backend, "--output=json")
	var report struct {
		Rules []struct {
			Rule    string
			Packets int
		}
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("dump: %v\n%s", err, text)
	}
	for _, cidr := range []string{"100.64.0.0/12", "fd00:10::/48"} {
		counted := 0
		for _, r := range report.Rules {
			if strings.Contains(r.Rule, "-d "+cidr) && strings.Contains(r.Rule, "REDIRECT") {
				counted += r.Packets
			}
		}
		if counted != 1 {
			t.Errorf("dump counts %d packets for %s, want 1, of one connection:\n%s", counted, cidr, text)
		}
	}
}

// TestVerifyNamesRulesOfNftables: verify names a rule of nftables' own kind with the nft
// of the image. iptables does not show such rules.
func TestVerifyNamesRulesOfNftables(t *testing.T) {
	netnstest.RequireRoot(t)
	pod, router := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(t, pod, router, netnstest.IPv4)
	c := newContainer(t, pod, "cap_net_admin")
	c.run(t, 0, "init-redirect", "apply", "--iptables=nft", "--shoot-pod-cidr=100.64.0.0/12")
	pod.Run(t, "nft", "add table ip other; add chain ip other out { type nat hook output priority -150; }; add rule ip other out ip daddr 100.64.0.0/12 tcp dport 1-65535 redirect to :9")
	_, stderr := c.run(t, 4, "init-redirect", "verify", "--iptables=nft", "--shoot-pod-cidr=100.64.0.0/12")
	if want := "nft table ip other chain out: rule with handle"; !strings.Contains(stderr, want) {
		t.Errorf("verify does not say %q:\n%s", want, stderr)
	}
	// dump needs nft too, for the rule's words.
	stdout, _ := c.run(t, 0, "init-redirect", "dump", "--explain")
	if want := "tcp dport 1-65535 redirect to :9"; !strings.HasPrefix(stdout, "WRONG: TCP to 100.64.0.0/12 is taken by the rule") || !strings.Contains(stdout, want) {
		t.Errorf("dump --explain does not begin with the rule %q:\n%s", want, stdout)
	}
}

// TestEveryExtensionIsThere: without an extension its rules cannot be read. All of the
// package's extensions must therefore be there. They are compared with this machine's
// package.
func TestEveryExtensionIsThere(t *testing.T) {
	image, _ := open(t, "init-redirect").image(t, runtime.GOARCH)
	all := files(t, image)
	list := run(t, exec.Command("dpkg", "--listfiles", "iptables"))
	found := 0
	for name := range strings.Lines(list) {
		name = strings.Trim(strings.TrimSpace(name), "/")
		base := name[strings.LastIndex(name, "/")+1:]
		if !strings.HasPrefix(base, "libxt_") && !strings.HasPrefix(base, "libipt_") && !strings.HasPrefix(base, "libip6t_") {
			continue
		}
		found++
		if _, ok := all[name]; !ok {
			t.Errorf("the image lacks %s", name)
		}
	}
	if found < 100 {
		t.Errorf("this machine has %d extensions to compare with, want 100 or more", found)
	}
}
