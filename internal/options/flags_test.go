// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Most users read nothing but the help about flags. People review it in the golden file,
// which shows each flag.
func TestHelp(t *testing.T) {
	for name, addFlags := range map[string]func(*pflag.FlagSet){
		"proxy-client":       new(ProxyClient).AddFlags,
		"init-redirect":      new(InitRedirect).AddFlags,
		"init-redirect-dump": new(InitRedirect).AddDumpFlags,
	} {
		t.Run(name, func(t *testing.T) {
			fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
			addFlags(fs)
			golden := "testdata/" + name + ".help.golden"
			got := fs.FlagUsagesWrapped(100)
			if *rewrite {
				writeGolden(t, golden, got)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the help changed; review it and rewrite with -update (-want +got):\n%s", diff)
			}
		})
	}
}

func parseInto(addFlags func(*pflag.FlagSet), args []string) error {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	addFlags(fs)
	return fs.Parse(args)
}

func TestArgsAreWhatTheProgramsParse(t *testing.T) {
	full := &ProxyClient{
		Shared: Shared{
			PodCIDRs: []string{"100.64.0.0/12", "fd00::/48"}, ServiceCIDRs: []string{"100.104.0.0/13"}, NodeCIDRs: []string{"10.250.0.0/16"},
			ExcludeCIDRs: []string{"10.250.0.1/32"}, LogFormat: "json", LogLevel: "debug",
		},
		ListenAddress: []string{"127.0.0.1:15500"}, ProxyServer: []string{"a:1", "unix:///b"}, Mode: "http-connect",
		CACert: "/ca.crt", ClientCert: "/c.crt", ClientKey: "/c.key", ServerName: "s", ALPNProto: []string{"istio"},
		EgressSelectorConfigFile: "/e.yaml", DialTimeout: time.Second, HalfCloseTimeout: 2 * time.Minute, DrainTimeout: 90 * time.Second,
		IdleTimeout: 5 * time.Second, ServerKeepalive: 20 * time.Second, MaxDials: 12, MaxConnections: 1000, ConnectionBuffer: 1 << 20, TotalBuffer: 1<<30 + 1,
		AcceptWhileDraining: true, HealthAddress: ":1",
		ExitFlags: ExitFlags{
			Exit: []string{"e:1", "f:1"}, ExitCACert: "/x.crt", ExitServerName: "x", ExitClientCert: "/y.crt", ExitClientKey: "/y.key", ExitPolicy: ExitRequire,
		},
	}
	want := []string{
		"--shoot-pod-cidr=100.64.0.0/12,fd00::/48", "--shoot-service-cidr=100.104.0.0/13", "--shoot-node-cidr=10.250.0.0/16", "--exclude-cidr=10.250.0.1/32",
		"--log-format=json", "--log-level=debug", "--proxy-server=a:1,unix:///b", "--mode=http-connect",
		"--ca-cert=/ca.crt", "--client-cert=/c.crt", "--client-key=/c.key", "--server-name=s", "--alpn-proto=istio", "--egress-selector-config-file=/e.yaml",
		"--exit=e:1,f:1", "--exit-ca-cert=/x.crt", "--exit-server-name=x", "--exit-client-cert=/y.crt", "--exit-client-key=/y.key", "--exit-policy=require",
		"--dial-timeout=1s", "--max-dials=12", "--max-connections=1000", "--half-close-timeout=2m", "--idle-timeout=5s", "--server-keepalive=20s", "--connection-buffer=1MiB", "--total-buffer=1073741825", "--drain-timeout=1m30s", "--accept-while-draining=true", "--listen-address=127.0.0.1:15500", "--health-address=:1", "--admin-address=",
	}
	if diff := cmp.Diff(want, full.Args()); diff != "" {
		t.Errorf("a flag is not rendered, or in another place (-want +got):\n%s", diff)
	}
	if args := NewProxyClient().Args(); args != nil {
		t.Errorf("defaults are rendered: %q", args)
	}
	redirect := NewInitRedirect()
	redirect.PodCIDRs, redirect.ProxyPort, redirect.ExcludeUID, redirect.Output = []string{"10.0.0.0/8"}, 15500, []string{"1", "2"}, "json"
	if diff := cmp.Diff([]string{"--shoot-pod-cidr=10.0.0.0/8", "--proxy-port=15500", "--exclude-uid=1,2", "--output=json"}, redirect.Args()); diff != "" {
		t.Errorf("init-redirect's command line (-want +got):\n%s", diff)
	}
	checkRoundTrip(t, full, redirect)
}

func checkRoundTrip(t *testing.T, proxy *ProxyClient, redirect *InitRedirect) {
	t.Helper()
	var gotProxy ProxyClient
	if err := parseInto(gotProxy.AddFlags, proxy.Args()); err != nil {
		t.Fatalf("proxy-client does not parse what is rendered, %q: %v", proxy.Args(), err)
	}
	if diff := cmp.Diff(proxy, &gotProxy, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("proxy-client is started with something else than what was rendered (-want +got):\n%s", diff)
	}
	var gotRedirect InitRedirect
	addFlags := func(fs *pflag.FlagSet) { gotRedirect.AddFlags(fs); gotRedirect.AddDumpFlags(fs) }
	if err := parseInto(addFlags, redirect.Args()); err != nil {
		t.Fatalf("init-redirect does not parse what is rendered, %q: %v", redirect.Args(), err)
	}
	if diff := cmp.Diff(redirect, &gotRedirect, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("init-redirect is started with something else than what was rendered (-want +got):\n%s", diff)
	}
}

func FuzzArgs(f *testing.F) {
	f.Add("100.64.0.0/12,fd00::/48", "unix:///run/s", "grpc", int64(8e9), int64(14001), true)
	f.Add("", ",", "--mode=x", int64(-1), int64(1<<62), false)
	f.Add(",", "a\nb, c", " ", int64(0), int64(0), false)
	f.Fuzz(func(t *testing.T, list, other, text string, duration, number int64, flag bool) {
		// An element of a list has no comma. It may be empty.
		lists := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, ",")
		}
		proxy := &ProxyClient{
			Shared:        Shared{PodCIDRs: lists(list), ServiceCIDRs: lists(other), NodeCIDRs: lists(text), ExcludeCIDRs: lists(list), LogFormat: text, LogLevel: other},
			ListenAddress: lists(other), ProxyServer: lists(list), Mode: text, CACert: other, ClientCert: list, ClientKey: text, ServerName: other, ALPNProto: lists(text),
			EgressSelectorConfigFile: list, DialTimeout: time.Duration(duration), HalfCloseTimeout: time.Duration(number), DrainTimeout: time.Duration(-duration),
			IdleTimeout: time.Duration(duration), ServerKeepalive: time.Duration(number),
			ConnectionBuffer: duration, TotalBuffer: number,
			AcceptWhileDraining: flag, HealthAddress: text,
		}
		redirect := &InitRedirect{
			Shared: proxy.Shared, ProxyPort: number, ProxyUID: duration, ExcludePort: lists(list), ExcludeUID: lists(other), Iptables: text, Netns: other, Output: list,
		}
		checkRoundTrip(t, proxy, redirect)
	})
}

// FuzzProxyClientConfig: flags are refused in one sentence, or give a configuration that is
// safe: loopback alone, and no plaintext over TCP.
func FuzzProxyClientConfig(f *testing.F) {
	f.Add("100.64.0.0/12", "unix:///run/s", "127.0.0.1:14001", ":14021", "auto", "name")
	f.Add("100.64.0.0/12,fd00::/48", "a:1,[fd99::1]:2", "[::1]:1,127.0.0.1:1", "x:1", "grpc", "")
	f.Add("0.0.0.0/0", "https://x", "0.0.0.0:1", "", "ftp", "a b")
	f.Fuzz(func(t *testing.T, cidrs, servers, listen, health, mode, name string) {
		o := NewProxyClient()
		o.PodCIDRs, o.ProxyServer, o.ListenAddress = strings.Split(cidrs, ","), strings.Split(servers, ","), strings.Split(listen, ",")
		o.HealthAddress, o.Mode, o.ServerName = health, mode, name
		cfg, err := o.Config()
		if err != nil {
			if !flagset.IsUsage(err) || strings.ContainsAny(err.Error(), "\r\n") || !strings.HasPrefix(err.Error(), "--") {
				t.Fatalf("the refusal is not one sentence that begins with the flag: %q", err)
			}
			return
		}
		for _, l := range cfg.Listen {
			if !l.Addr().IsLoopback() || l.Port() == 0 {
				t.Fatalf("%q would listen on %s: the shoot would be open to the pod network", listen, l)
			}
		}
		for _, s := range cfg.Servers {
			if s.Network != tunnel.NetworkUnix || !strings.HasPrefix(s.Address, "/") || s.Mode == tunnel.ModeAuto {
				t.Fatalf("%q without a CA gives %+v", servers, s)
			}
		}
	})
}

func FuzzServer(f *testing.F) {
	for _, seed := range []string{"a:1", "[fd00::1]:8090", "[fe80::1%eth0]:1", "unix:///run/s", "unix:x", "https://a:1", "10.0.0.1:65536", "::1:1", "[a]:1", "a.b.:1", "1:1", "\n:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s, err := parseServer(value, tunnel.ModeAuto)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("the error of %q has two lines: %q", value, err)
			}
			return
		}
		again := s.Address
		if s.Network == tunnel.NetworkUnix {
			again = "unix://" + again
		}
		if twice, err := parseServer(again, tunnel.ModeAuto); err != nil || twice.Address != s.Address || twice.Network != s.Network {
			t.Fatalf("%q becomes %+v, which becomes %+v, %v", value, s, twice, err)
		}
	})
}

func FuzzEgressSelector(f *testing.F) {
	for _, text := range egressFiles() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := parseEgressSelector(data)
		if err == nil {
			var connection *egressConnection
			if connection, err = config.cluster(); err == nil {
				var s server
				if s, _, err = connection.server(flagSource(egressFlag, "x")); err == nil && (s.Address == "" || s.Mode == tunnel.ModeAuto) {
					t.Fatalf("%q gives %+v", data, s)
				}
			}
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
			t.Fatalf("the error has two lines: %q", err)
		}
	})
}

func TestEnvironment(t *testing.T) {
	environment := map[string]string{
		"PROXY_CLIENT_SHOOT_POD_CIDR":        "100.64.0.0/12,fd00::/48",
		"PROXY_CLIENT_MODE":                  "grpc",
		"PROXY_CLIENT_DIAL_TIMEOUT":          "3s",
		"PROXY_CLIENT_ACCEPT_WHILE_DRAINING": "true",
		"PROXY_CLIENT_PROXY_SERVER":          "from:1",
		"PROXY_CLIENT_SERVER_NAME":           "",
		"PROXY_CLIENT_HELP":                  "true",
		"INIT_REDIRECT_LOG_LEVEL":            "debug",
		"LOG_LEVEL":                          "debug",
	}
	var o ProxyClient
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.AddFlags(fs)
	fs.Bool("help", false, "as cobra adds it")
	if err := fs.Parse([]string{"--proxy-server=flag:1", "--dial-timeout=8s"}); err != nil {
		t.Fatal(err)
	}
	lookup := func(name string) (string, bool) { v, ok := environment[name]; return v, ok }
	if err := flagset.ApplyEnvironment(fs, ProxyClientPrefix, lookup); err != nil {
		t.Fatal(err)
	}
	want := NewProxyClient()
	want.PodCIDRs = []string{"100.64.0.0/12", "fd00::/48"}
	want.Mode = "grpc"
	want.AcceptWhileDraining = true
	want.ProxyServer = []string{"flag:1"} // the flag wins; the variable adds nothing
	if diff := cmp.Diff(want, &o); diff != "" {
		t.Errorf("flags and environment together (-want +got):\n%s", diff)
	}
}

// Each flag of both programs can come from the environment.
func TestEveryFlagHasAVariable(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	new(InitRedirect).AddFlags(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		want := "INIT_REDIRECT_" + strings.ToUpper(strings.Join(strings.Split(f.Name, "-"), "_"))
		asked := false
		_ = flagset.ApplyEnvironment(fs, InitRedirectPrefix, func(name string) (string, bool) {
			asked = asked || name == want
			return "", false
		})
		if !asked || flagset.Variable(InitRedirectPrefix, "--"+f.Name) != want {
			t.Errorf("--%s cannot be set by %s", f.Name, want)
		}
	})
}

// TestCIDRErrorsAreUsage: bad CIDRs end a program with exit code 2.
func TestCIDRErrorsAreUsage(t *testing.T) {
	for _, err := range []error{&cidr.Error{List: "--exclude-cidr", Err: errors.New("x")}, cidr.ErrNoShoot} {
		if got := fromCIDR(err); !flagset.IsUsage(got) || !errors.Is(got, err) {
			t.Errorf("%v became %v: the exit code would be wrong", err, got)
		}
	}
	if err := fromCIDR(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
}
