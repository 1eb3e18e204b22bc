// SPDX-License-Identifier: Apache-2.0

package options

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// compare compares configurations. It compares sets by their CIDRs.
var compare = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.IgnoreFields(ProxyClientConfig{}, "Names"), // TestNamesOfSettings has them
	cmp.Transformer("set", func(s *cidr.Set) string { return fmt.Sprint(s.Shoot(), " without ", s.Excluded()) }),
}

func mustSet(t testing.TB, shoot string) *cidr.Set {
	t.Helper()
	entries, err := cidr.Parse("--shoot-pod-cidr", strings.Split(shoot, ","))
	if err != nil {
		t.Fatal(err)
	}
	set, err := cidr.New(entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func addresses(values ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, v := range values {
		all = append(all, netip.MustParseAddrPort(v))
	}
	return all
}

// A change of a default breaks deployments and the two other programs.
func TestProxyClientDefaults(t *testing.T) {
	inFolderWithFiles(t)
	got, err := parse(theProxy, []string{both, tcp, ca}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &ProxyClientConfig{
		CIDRs:            mustSet(t, "100.64.0.0/12,fd00:10::/48"),
		Listen:           addresses("127.0.0.1:14001", "[::1]:14001"),
		Servers:          []tunnel.Server{{Name: "proxy-server:8090", Network: "tcp", Address: "proxy-server:8090", Mode: tunnel.ModeAuto}},
		TLS:              tunnel.TLS{CAFile: "ca.crt"},
		DialTimeout:      8 * time.Second,
		ServerKeepalive:  5 * time.Second,
		HalfCloseTimeout: 60 * time.Second,
		DrainTimeout:     20 * time.Second,
		MaxDials:         256,
		ConnectionBuffer: 16 << 20,
		TotalBuffer:      256 << 20,
		HealthAddress:    ":14021",
		AdminAddress:     netip.MustParseAddrPort("127.0.0.1:14000"),
		Log:              Log{Format: "text", Level: slog.LevelInfo},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("a default changed (-want +got):\n%s", diff)
	}
}

func TestInitRedirectDefaults(t *testing.T) {
	got, err := parse(theInit, []string{pods}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &InitRedirectConfig{
		CIDRs: mustSet(t, "100.64.0.0/12"), ProxyPort: 14001, ProxyUID: 14001,
		Backend: "auto", Output: "table", Log: Log{Format: "text", Level: slog.LevelInfo},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("a default changed (-want +got):\n%s", diff)
	}
}

func TestProxyClientConfig(t *testing.T) {
	inFolderWithFiles(t)
	for _, tt := range []struct {
		name string
		args []string
		want func(*ProxyClientConfig)
	}{
		{"IPv4 alone listens on IPv4", []string{pods, socket}, func(c *ProxyClientConfig) {
			c.CIDRs, c.Listen = mustSet(t, "100.64.0.0/12"), addresses("127.0.0.1:14001")
		}},
		{"IPv6 alone listens on IPv6", []string{"--shoot-node-cidr=fd00:10::/48", socket}, func(c *ProxyClientConfig) {
			c.CIDRs, c.Listen = mustSet(t, "fd00:10::/48"), addresses("[::1]:14001")
		}},
		{"auto over a Unix socket means gRPC", []string{both, socket, "--mode=auto"}, nil},
		{"http-connect over a Unix socket has to be said", []string{both, socket, "--mode=http-connect"}, func(c *ProxyClientConfig) {
			c.Servers[0].Mode = tunnel.ModeHTTPConnect
		}},
		{"several servers of all forms", []string{both, ca, "--proxy-server=a.example.:1, [fd99::1]:65535", "--proxy-server=192.0.2.7:8090,unix:///run/s"}, func(c *ProxyClientConfig) {
			c.TLS.CAFile = "ca.crt"
			c.Servers = []tunnel.Server{
				{Name: "a.example.:1", Network: "tcp", Address: "a.example.:1", Mode: tunnel.ModeAuto},
				{Name: "[fd99::1]:65535", Network: "tcp", Address: "[fd99::1]:65535", Mode: tunnel.ModeAuto},
				{Name: "192.0.2.7:8090", Network: "tcp", Address: "192.0.2.7:8090", Mode: tunnel.ModeAuto},
				{Name: "unix:///run/s", Network: "unix", Address: "/run/s", Mode: tunnel.ModeGRPC},
			}
		}},
		{"a server in an excluded part of the shoot", []string{both, ca, "--proxy-server=100.64.3.4:8090", "--exclude-cidr=100.64.3.4/32", "--mode=grpc"}, func(c *ProxyClientConfig) {
			c.TLS.CAFile = "ca.crt"
			c.CIDRs = nil
			c.Servers = []tunnel.Server{{Name: "100.64.3.4:8090", Network: "tcp", Address: "100.64.3.4:8090", Mode: tunnel.ModeGRPC}}
		}},
		{"TLS files are accepted beside a Unix socket", []string{both, socket, ca, "--client-cert=client.crt", "--client-key=client.key"}, func(c *ProxyClientConfig) {
			c.TLS = tunnel.TLS{CAFile: "ca.crt", CertFile: "client.crt", KeyFile: "client.key"}
		}},
		{"a CA bundle in rotation may carry an expired one", []string{both, tcp, "--ca-cert=rotation.crt", "--server-name=server.example", "--alpn-proto=istio"}, func(c *ProxyClientConfig) {
			c.TLS = tunnel.TLS{CAFile: "rotation.crt", ServerName: "server.example", ALPN: []string{"istio"}}
			c.Servers = []tunnel.Server{{Name: "proxy-server:8090", Network: "tcp", Address: "proxy-server:8090", Mode: tunnel.ModeAuto}}
		}},
		{"everything else", []string{
			both, socket, "--listen-address=[::1]:1,127.0.0.1:65535", "--dial-timeout=500ms", "--half-close-timeout=2m", "--drain-timeout=1h",
			"--idle-timeout=1h30m", "--server-keepalive=1m", "--max-dials=7", "--max-connections=9", "--connection-buffer=512KiB", "--total-buffer=1Gi", "--accept-while-draining", "--health-address=[::]:8080", "--admin-address=[::1]:14000", "--log-format=json", "--log-level=debug",
		}, func(c *ProxyClientConfig) {
			c.Listen = addresses("[::1]:1", "127.0.0.1:65535")
			c.DialTimeout, c.HalfCloseTimeout, c.DrainTimeout = 500*time.Millisecond, 2*time.Minute, time.Hour
			c.IdleTimeout, c.ServerKeepalive = 90*time.Minute, time.Minute
			c.MaxDials, c.MaxConnections, c.ConnectionBuffer, c.TotalBuffer = 7, 9, 512<<10, 1<<30
			c.AcceptWhileDraining, c.HealthAddress, c.Log = true, "[::]:8080", Log{"json", slog.LevelDebug}
			c.AdminAddress = netip.MustParseAddrPort("[::1]:14000")
		}},
		{"health on another address may share the port", []string{both, socket, "--health-address=10.1.2.3:14001"}, func(c *ProxyClientConfig) {
			c.HealthAddress = "10.1.2.3:14001"
		}},
		{"no status page", []string{both, socket, "--admin-address="}, func(c *ProxyClientConfig) {
			c.AdminAddress = netip.AddrPort{}
		}},
		{"the status page on another loopback address may share a port", []string{both, socket, "--admin-address=127.0.0.2:14001"}, func(c *ProxyClientConfig) {
			c.AdminAddress = netip.MustParseAddrPort("127.0.0.2:14001")
		}},
		{"egress selector with HTTP CONNECT over TCP", []string{both, "--egress-selector-config-file=connect-tcp.yaml", "--server-name=x"}, func(c *ProxyClientConfig) {
			c.Servers = []tunnel.Server{{Name: "proxy-server:8131", Network: "tcp", Address: "proxy-server:8131", Mode: tunnel.ModeHTTPConnect}}
			c.TLS = tunnel.TLS{CAFile: "ca.crt", CertFile: "client.crt", KeyFile: "client.key", ServerName: "x"}
		}},
		{"egress selector with a server name", []string{both, "--egress-selector-config-file=name.yaml"}, func(c *ProxyClientConfig) {
			c.Servers = []tunnel.Server{{Name: "proxy-server:8131", Network: "tcp", Address: "proxy-server:8131", Mode: tunnel.ModeHTTPConnect}}
			c.TLS = tunnel.TLS{CAFile: "ca.crt", CertFile: "client.crt", KeyFile: "client.key", ServerName: "kp.seed"}
		}},
		{"egress selector with a slash behind the URL", []string{both, "--egress-selector-config-file=connect-slash.yaml"}, func(c *ProxyClientConfig) {
			c.Servers = []tunnel.Server{{Name: "proxy-server:8131", Network: "tcp", Address: "proxy-server:8131", Mode: tunnel.ModeHTTPConnect}}
			c.TLS = tunnel.TLS{CAFile: "ca.crt", CertFile: "client.crt", KeyFile: "client.key"}
		}},
		{"egress selector with GRPC over a Unix socket", []string{both, "--egress-selector-config-file=grpc-uds.yaml", "--mode=auto"}, func(c *ProxyClientConfig) {
			c.Servers[0].Name = "unix:///run/server.sock"
		}},
		{"egress selector with HTTP CONNECT over a Unix socket", []string{both, "--egress-selector-config-file=connect-uds.yaml"}, func(c *ProxyClientConfig) {
			c.Servers[0].Mode = tunnel.ModeHTTPConnect
		}},
		{"egress selector as JSON with tabs, v1alpha1", []string{both, "--egress-selector-config-file=connect-uds.json"}, func(c *ProxyClientConfig) {
			c.Servers[0].Mode = tunnel.ModeHTTPConnect
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parsed, err := parse(theProxy, tt.args, nil)
			if err != nil {
				t.Fatalf("good flags %q were refused: %v", tt.args, err)
			}
			got := parsed.(*ProxyClientConfig)
			want := &ProxyClientConfig{
				CIDRs:            mustSet(t, "100.64.0.0/12,fd00:10::/48"),
				Listen:           addresses("127.0.0.1:14001", "[::1]:14001"),
				Servers:          []tunnel.Server{{Name: "unix:///run/server.sock", Network: "unix", Address: "/run/server.sock", Mode: tunnel.ModeGRPC}},
				DialTimeout:      8 * time.Second,
				ServerKeepalive:  5 * time.Second,
				HalfCloseTimeout: 60 * time.Second,
				DrainTimeout:     20 * time.Second,
				MaxDials:         256,
				ConnectionBuffer: 16 << 20,
				TotalBuffer:      256 << 20,
				HealthAddress:    ":14021",
				AdminAddress:     netip.MustParseAddrPort("127.0.0.1:14000"),
				Log:              Log{Format: "text", Level: slog.LevelInfo},
			}
			if tt.want != nil {
				tt.want(want)
			}
			if want.CIDRs == nil {
				want.CIDRs = got.CIDRs
			}
			if diff := cmp.Diff(want, got, compare); diff != "" {
				t.Errorf("%q mean something else (-want +got):\n%s", tt.args, diff)
			}
			onTCP := got.Servers[0].Network == tunnel.NetworkTCP
			if onTCP && !got.TLS.Enabled() {
				t.Error("a server on TCP would be spoken to in plaintext")
			}
		})
	}
}

func TestInitRedirectConfig(t *testing.T) {
	namespace := "/proc/self/ns/net"
	for _, tt := range []struct {
		name, program string
		args          []string
		want          *InitRedirectConfig
	}{
		{
			"everything", theInit,
			[]string{pods, "--proxy-port=1", "--proxy-uid=4294967294", "--exclude-port=443,22", "--exclude-port=22,65535", "--exclude-port=441-444,30000-30000", "--exclude-uid=1337,0", "--iptables=legacy", "--netns=" + namespace, "--log-level=WARN"},
			&InitRedirectConfig{
				CIDRs: mustSet(t, "100.64.0.0/12"), ProxyPort: 1, ProxyUID: 4294967294, ExcludePorts: []uint16{22, 441, 442, 443, 444, 30000, 65535}, ExcludeUIDs: []uint32{0, 1337},
				Backend: "legacy", Netns: namespace, Output: "table", Log: Log{"text", slog.LevelWarn},
			},
		},
		{
			"dump needs no CIDRs", theDump,
			[]string{"--output=json", "--iptables=nft"},
			&InitRedirectConfig{ProxyPort: 14001, ProxyUID: 14001, Backend: "nft", Output: "json", Log: Log{"text", slog.LevelInfo}},
		},
		{
			"nor do exclusions make it need any", theDump,
			[]string{"--exclude-cidr=10.0.0.0/8"},
			&InitRedirectConfig{ProxyPort: 14001, ProxyUID: 14001, Backend: "auto", Output: "table", Log: Log{"text", slog.LevelInfo}},
		},
		{
			"but takes them", theDump,
			[]string{pods},
			&InitRedirectConfig{CIDRs: mustSet(t, "100.64.0.0/12"), ProxyPort: 14001, ProxyUID: 14001, Backend: "auto", Output: "table", Log: Log{"text", slog.LevelInfo}},
		},
		{
			"dump follows a datagram of a bound socket", theDump,
			[]string{"--to=[fd00::7]:9100", "--from=eth0", "--uid=0", "--udp"},
			&InitRedirectConfig{
				ProxyPort: 14001, ProxyUID: 14001, Backend: "auto", Output: "table", Log: Log{"text", slog.LevelInfo},
				Dump: DumpConfig{To: netip.MustParseAddrPort("[fd00::7]:9100"), Device: "eth0", UID: new(uint32), UDP: true},
			},
		},
		{
			"dump follows a connection from an address, which may be written as IPv6", theDump,
			[]string{"--to=[::ffff:10.0.0.2]:80", "--from=10.0.0.5:40000", "--explain"},
			&InitRedirectConfig{
				ProxyPort: 14001, ProxyUID: 14001, Backend: "auto", Output: "table", Log: Log{"text", slog.LevelInfo},
				Dump: DumpConfig{Explain: true, To: netip.MustParseAddrPort("10.0.0.2:80"), From: netip.MustParseAddrPort("10.0.0.5:40000")},
			},
		},
		{
			"dump watches", theDump,
			[]string{"--watch", "--interval=5s"},
			&InitRedirectConfig{ProxyPort: 14001, ProxyUID: 14001, Backend: "auto", Output: "table", Log: Log{"text", slog.LevelInfo}, Dump: DumpConfig{Interval: 5 * time.Second}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.program, tt.args, nil)
			if err != nil {
				t.Fatalf("good flags %q were refused: %v", tt.args, err)
			}
			if diff := cmp.Diff(tt.want, got, compare); diff != "" {
				t.Errorf("%q mean something else (-want +got):\n%s", tt.args, diff)
			}
		})
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	logger := Log{Format: formatJSON, Level: slog.LevelWarn}.Logger(&out)
	logger.Info("quiet")
	logger.Warn("loud", "port", 14001)
	if got := out.String(); !strings.Contains(got, `"msg":"loud","port":14001`) || strings.Contains(got, "quiet") {
		t.Errorf("the JSON log has %q", got)
	}
	out.Reset()
	Log{Format: formatText, Level: slog.LevelDebug}.Logger(&out).Debug("fine")
	if got := out.String(); !strings.Contains(got, "level=DEBUG msg=fine") {
		t.Errorf("the text log has %q", got)
	}
}

// TestCheckReadsNoTLSFiles: Check accepts flags that Config refuses for their files alone.
func TestCheckReadsNoTLSFiles(t *testing.T) {
	o := NewProxyClient()
	o.PodCIDRs = []string{"100.64.0.0/12"}
	o.ProxyServer = []string{"vpn-proxy-server:8090"}
	o.CACert, o.ClientCert, o.ClientKey = "/not/there/ca.crt", "/not/there/tls.crt", "/not/there/tls.key"
	if err := o.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
	if _, err := o.Config(); !flagset.IsUsage(err) {
		t.Errorf("Config: %v, want it to miss the files", err)
	}
	o.ProxyServer = []string{"100.64.0.1:8090"}
	if err := o.Check(); !flagset.IsUsage(err) {
		t.Errorf("Check of a server inside of the shoot: %v", err)
	}
	o.ProxyServer, o.CACert = []string{"vpn-proxy-server:8090"}, ""
	if err := o.Check(); !flagset.IsUsage(err) {
		t.Errorf("Check without a CA: %v", err)
	}
}

// TestCheckPod: CheckPod refuses mistakes in the flags of either program. It makes
// proxy-client listen on the port to which init-redirect sends connections.
func TestCheckPod(t *testing.T) {
	pod := func(change func(i *InitRedirect, p *ProxyClient)) (*ProxyClient, error) {
		i, p := NewInitRedirect(), NewProxyClient()
		i.PodCIDRs, p.ProxyServer = []string{"100.64.0.0/12", "fd00:10::/48"}, []string{"vpn-proxy-server:8090"}
		p.CACert, p.ClientCert, p.ClientKey = "/not/there/ca.crt", "/not/there/tls.crt", "/not/there/tls.key"
		change(i, p)
		p.Shared = i.Shared
		_, err := CheckPod(i, p)
		return p, err
	}
	for port, want := range map[int64][]string{14001: nil, 14002: {"127.0.0.1:14002", "[::1]:14002"}} {
		p, err := pod(func(i *InitRedirect, _ *ProxyClient) { i.ProxyPort = port })
		if diff := cmp.Diff(want, p.ListenAddress); err != nil || diff != "" {
			t.Errorf("port %d: %v (-want +got):\n%s", port, err, diff)
		}
	}
	for want, change := range map[string]func(i *InitRedirect, p *ProxyClient){
		`--shoot-pod-cidr is not given`:                func(i *InitRedirect, _ *ProxyClient) { i.PodCIDRs = nil },
		`--proxy-port "70000" `:                        func(i *InitRedirect, _ *ProxyClient) { i.ProxyPort = 70000 },
		`--proxy-server "100.64.0.1:8090" lies inside`: func(_ *InitRedirect, p *ProxyClient) { p.ProxyServer = []string{"100.64.0.1:8090"} },
		`--health-address ":14002" `:                   func(i *InitRedirect, p *ProxyClient) { i.ProxyPort, p.HealthAddress = 14002, ":14002" },
		`--dial-timeout "0s" `:                         func(_ *InitRedirect, p *ProxyClient) { p.DialTimeout = 0 },
	} {
		if _, err := pod(change); !flagset.IsUsage(err) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
