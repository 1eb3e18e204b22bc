// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Config validates the flags and returns what they mean. It returns the first mistake
// as a [*flagset.UsageError]. It reads the files that flags name. It resolves no name:
// the dialer checks on each resolution that a server's name does not lead into the shoot.
func (o *ProxyClient) Config() (*ProxyClientConfig, error) {
	return o.config(o.set, func(files tlsFiles) error { return files.check(time.Now()) })
}

// ConfigWithoutFiles is Config for a program that reports on the TLS files itself. It does
// not read them.
func (o *ProxyClient) ConfigWithoutFiles() (*ProxyClientConfig, error) {
	return o.config(o.set, tlsFiles.checkPaired)
}

// Check is Config for a program that starts proxy-client elsewhere, where the files are.
// It validates everything but the content of the TLS files.
func (o *ProxyClient) Check() error {
	_, err := o.config(o.set, func(tlsFiles) error { return nil })
	return err
}

// CheckPod validates the flags of the two programs of one pod, and returns the CIDRs that
// they share. It is for a program that starts them elsewhere, as [ProxyClient.Check] is. It
// sets --listen-address of proxy-client to where init-redirect sends connections.
func CheckPod(i *InitRedirect, p *ProxyClient) (*cidr.Set, error) {
	redirect, err := i.Config()
	if err != nil {
		return nil, err
	}
	p.listenOn(redirect.CIDRs, redirect.ProxyPort)
	shared := func() (*cidr.Set, error) { return redirect.CIDRs, nil }
	_, err = p.config(shared, func(tlsFiles) error { return nil })
	return redirect.CIDRs, err
}

// config validates the flags. cidrs returns the set that the flags about CIDRs mean, and
// checkFiles validates the content of the TLS files.
func (o *ProxyClient) config(cidrs func() (*cidr.Set, error), checkFiles func(tlsFiles) error) (*ProxyClientConfig, error) {
	log, err := ParseLog(o.LogFormat, o.LogLevel)
	if err != nil {
		return nil, err
	}
	if err := o.checkDurations(); err != nil {
		return nil, err
	}
	if err := o.checkBuffers(); err != nil {
		return nil, err
	}
	if err := o.checkLimits(); err != nil {
		return nil, err
	}
	set, err := cidrs()
	if err != nil {
		return nil, err
	}
	listen, err := o.listen(set)
	if err != nil {
		return nil, err
	}
	if err := o.checkHealthAddress(listen); err != nil {
		return nil, err
	}
	admin, err := o.admin(listen)
	if err != nil {
		return nil, err
	}
	servers, files, err := o.upstream()
	if err != nil {
		return nil, err
	}
	if err := checkServers(servers, set, listen); err != nil {
		return nil, err
	}
	tls, err := o.tls(servers, files, checkFiles)
	if err != nil {
		return nil, err
	}
	exits, err := o.exits(checkFiles)
	if err != nil {
		return nil, err
	}
	return &ProxyClientConfig{
		CIDRs: set, Listen: listen, Servers: plain(servers), TLS: tls, Exits: exits, Names: o.settingNames(servers),
		DialTimeout: o.DialTimeout, HalfCloseTimeout: o.HalfCloseTimeout, DrainTimeout: o.DrainTimeout,
		IdleTimeout:      o.IdleTimeout,
		ServerKeepalive:  o.ServerKeepalive,
		MaxDials:         int(o.MaxDials),
		MaxConnections:   int(o.MaxConnections),
		ConnectionBuffer: o.ConnectionBuffer, TotalBuffer: o.TotalBuffer,
		AcceptWhileDraining: o.AcceptWhileDraining, HealthAddress: strings.TrimSpace(o.HealthAddress), AdminAddress: admin, Log: log,
	}, nil
}

func (o *ProxyClient) checkDurations() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"--dial-timeout", o.DialTimeout},
		{"--half-close-timeout", o.HalfCloseTimeout},
		{"--drain-timeout", o.DrainTimeout},
	} {
		if d.value <= 0 {
			return &flagset.UsageError{Flag: d.flag, Value: d.value.String(), Problem: "is not positive: write a duration above zero, such as 8s"}
		}
	}
	if o.IdleTimeout != 0 && o.IdleTimeout < time.Second {
		return &flagset.UsageError{Flag: "--idle-timeout", Value: o.IdleTimeout.String(), Problem: "is less than a second: write a longer duration, such as 1h, or 0 for no limit"}
	}
	if k := o.ServerKeepalive; k < time.Second || k > maxServerKeepalive || k%time.Second != 0 {
		return &flagset.UsageError{Flag: "--server-keepalive", Value: k.String(), Problem: "is not one of the whole seconds from 1s to 1h, which TCP keepalive can have: write a duration such as 5s"}
	}
	return nil
}

// maxServerKeepalive is longer than anyone should wait for news of a dead server. It is
// less than TCP_KEEPIDLE allows, which is 32767 s (tcp(7)).
const maxServerKeepalive = time.Hour

// upstream returns the servers and the TLS files, from the flags or from the
// egress selector's configuration.
func (o *ProxyClient) upstream() ([]server, tlsFiles, error) {
	if o.EgressSelectorConfigFile != "" {
		if err := o.checkEgressConflicts(); err != nil {
			return nil, tlsFiles{}, err
		}
		return readEgressSelector(o.EgressSelectorConfigFile)
	}
	servers, err := o.servers()
	return servers, tlsFiles{
		ca:   tlsFile{path: o.CACert, source: flagSource("--ca-cert", o.CACert)},
		cert: tlsFile{path: o.ClientCert, source: flagSource("--client-cert", o.ClientCert)},
		key:  tlsFile{path: o.ClientKey, source: flagSource("--client-key", o.ClientKey)},
	}, err
}

// tls validates the TLS files, the server's name and the protocols to offer.
func (o *ProxyClient) tls(servers []server, files tlsFiles, check func(tlsFiles) error) (tunnel.TLS, error) {
	for _, s := range servers {
		if s.Network == tunnel.NetworkTCP && files.ca.path == "" {
			return tunnel.TLS{}, s.source.refuse(fmt.Sprintf("is on TCP and needs %s: without a CA nothing tells the server from an impostor", files.ca.source.name), nil)
		}
	}
	if err := check(files); err != nil {
		return tunnel.TLS{}, err
	}
	name, err := o.serverName(files)
	if err != nil {
		return tunnel.TLS{}, err
	}
	protocols, err := o.protocols()
	return tunnel.TLS{CAFile: files.ca.path, CertFile: files.cert.path, KeyFile: files.key.path, ServerName: name, ALPN: protocols}, err
}

// serverName returns the name from --server-name, or the name beside the TLS files in the
// egress selector's configuration.
func (o *ProxyClient) serverName(files tlsFiles) (string, error) {
	name, source := strings.TrimSpace(o.ServerName), flagSource("--server-name", o.ServerName)
	if other := files.name; other.path != "" {
		if name != "" {
			return "", source.refuse(fmt.Sprintf("contradicts %s of %s %q: remove one of the two", other.source.field, egressFlag, o.EgressSelectorConfigFile), nil)
		}
		name, source = other.path, other.source
	}
	if name == "" && o.ServerName == "" {
		return "", nil
	}
	if err := checkHost(name, onlyName); err != nil {
		return "", source.refuse(err.Error(), err)
	}
	return name, nil
}

// protocols validates --alpn-proto: RFC 7301 allows 1 to 255 bytes a name.
func (o *ProxyClient) protocols() ([]string, error) {
	protocols, err := elements("--alpn-proto", o.ALPNProto, "istio,istio-peer-exchange")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, p := range protocols {
		if len(p) > 255 {
			return nil, &flagset.UsageError{Flag: "--alpn-proto", Value: p, Problem: "is longer than the 255 bytes that TLS allows a protocol name: write a shorter one"}
		}
		if seen[p] {
			return nil, &flagset.UsageError{Flag: "--alpn-proto", Value: p, Problem: "is given twice: write it once"}
		}
		seen[p] = true
	}
	return protocols, nil
}

// Config validates the flags and returns what they mean, for apply and plan. It returns
// the first mistake as a [*flagset.UsageError]. It looks at no file but that of --netns.
func (o *InitRedirect) Config() (*InitRedirectConfig, error) {
	set, err := o.set()
	if err != nil {
		return nil, err
	}
	return o.config(set)
}

// ConfigWithoutCIDRs is Config for verify, dump and clean, which work on the rules that
// stand. It requires no shoot CIDR, and validates those that are given. If there is none,
// CIDRs is nil.
func (o *InitRedirect) ConfigWithoutCIDRs() (*InitRedirectConfig, error) {
	if o.given() {
		return o.Config()
	}
	if _, err := cidr.Parse("--exclude-cidr", o.ExcludeCIDRs); err != nil {
		return nil, fromCIDR(err)
	}
	return o.config(nil)
}

// NeedsNoCIDRs refuses flags that say what the rules should be if no shoot CIDR is given.
// Without the CIDRs, verify could not compare the rules that stand with these flags.
func (o *InitRedirect) NeedsNoCIDRs() error {
	if o.given() {
		return nil
	}
	defaults := NewInitRedirect()
	for _, one := range []struct {
		flag, value string
		isDefault   bool
	}{
		{"--exclude-cidr", strings.Join(o.ExcludeCIDRs, ","), len(o.ExcludeCIDRs) == 0},
		{"--exclude-port", strings.Join(o.ExcludePort, ","), len(o.ExcludePort) == 0},
		{FlagExcludeUID, strings.Join(o.ExcludeUID, ","), len(o.ExcludeUID) == 0},
		{"--proxy-port", strconv.FormatInt(o.ProxyPort, 10), o.ProxyPort == defaults.ProxyPort},
		{FlagProxyUID, strconv.FormatInt(o.ProxyUID, 10), o.ProxyUID == defaults.ProxyUID},
	} {
		if !one.isDefault {
			return &flagset.UsageError{Flag: one.flag, Value: one.value, Problem: "can be compared with the rules that stand only together with the shoot CIDRs: give those too, or leave this flag out"}
		}
	}
	return nil
}

// config validates everything but the CIDRs.
func (o *InitRedirect) config(set *cidr.Set) (*InitRedirectConfig, error) {
	log, err := ParseLog(o.LogFormat, o.LogLevel)
	if err != nil {
		return nil, err
	}
	cfg := &InitRedirectConfig{CIDRs: set, Log: log, Backend: o.Iptables, Netns: o.Netns, Output: o.Output}
	if cfg.ProxyPort, err = o.proxyPort(); err != nil {
		return nil, err
	}
	if cfg.ProxyUID, err = o.proxyUID(); err != nil {
		return nil, err
	}
	if cfg.ExcludePorts, err = o.excludePorts(); err != nil {
		return nil, err
	}
	if cfg.ExcludeUIDs, err = o.excludeUIDs(); err != nil {
		return nil, err
	}
	switch o.Iptables {
	case BackendAuto, BackendNFT, BackendLegacy:
	default:
		return nil, &flagset.UsageError{Flag: FlagIptables, Value: o.Iptables, Problem: "is not a backend: write auto, nft or legacy"}
	}
	if o.Output != OutputTable && o.Output != OutputJSON {
		return nil, &flagset.UsageError{Flag: "--output", Value: o.Output, Problem: "is not an output: write table or json"}
	}
	if cfg.Dump, err = o.dumpConfig(); err != nil {
		return nil, err
	}
	return cfg, o.checkNetns()
}

// checkNetns refuses a path that is no file. Otherwise the rules could be changed in the
// wrong namespace.
func (o *InitRedirect) checkNetns() error {
	if o.Netns == "" {
		return nil
	}
	if !filepath.IsAbs(o.Netns) {
		return &flagset.UsageError{Flag: FlagNetns, Value: o.Netns, Problem: "is not an absolute path: write one such as /run/netns/pod or /proc/1234/ns/net"}
	}
	info, err := os.Stat(o.Netns)
	if errors.Is(err, fs.ErrNotExist) {
		return &flagset.UsageError{Flag: FlagNetns, Value: o.Netns, Problem: "does not exist: look for it with `ip netns` or `lsns -t net`", Err: err}
	}
	if err != nil {
		return &flagset.UsageError{Flag: FlagNetns, Value: o.Netns, Problem: "cannot be opened: " + flagset.FileProblemInPod(err), Err: err}
	}
	if info.IsDir() {
		return &flagset.UsageError{Flag: FlagNetns, Value: o.Netns, Problem: "is a directory: write the path of a namespace, such as /run/netns/pod or /proc/1234/ns/net"}
	}
	return nil
}

// elements returns the elements of a list without the space around them. It refuses
// empty elements, since a stray comma is a typing error.
func elements(flag string, values []string, example string) ([]string, error) {
	var trimmed []string
	for _, value := range values {
		value = strings.TrimSpace(value)
		if value == "" {
			return nil, &flagset.UsageError{
				Flag: flag, Value: strings.Join(values, ","),
				Problem: "has an empty element: write a list with single commas, such as " + example,
			}
		}
		trimmed = append(trimmed, value)
	}
	return trimmed, nil
}

// source is the place where a value was given, for the sentence that refuses it.
type source struct {
	flag, value string
	// field is the place inside of the file that value names, such as
	// `tlsConfig.caBundle "/ca.crt"`. It is empty if the flag itself is meant.
	field string
	// name is what a user who has given no value has to give: the flag, or the field
	// without a value.
	name string
}

func flagSource(flag, value string) source {
	return source{flag: flag, value: value, name: flag}
}

// refuse returns the error that refuses the value. problem is the whole sentence, and err
// the cause or nil.
func (s source) refuse(problem string, err error) error {
	if s.field != "" {
		problem = "cannot be used: " + s.field + " " + problem
	}
	return &flagset.UsageError{Flag: s.flag, Value: s.value, Problem: problem, Err: err}
}

// plain returns the servers without their sources.
func plain(servers []server) []tunnel.Server {
	var out []tunnel.Server
	for _, s := range servers {
		out = append(out, s.Server)
	}
	return out
}
