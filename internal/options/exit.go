// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// The flags about exits.
const (
	FlagExit           = "--exit"
	flagExitCACert     = "--exit-ca-cert"
	flagExitServerName = "--exit-server-name"
	flagExitClientCert = "--exit-client-cert"
	flagExitClientKey  = "--exit-client-key"
	flagExitPolicy     = "--exit-policy"
)

// The values of --exit-policy.
const (
	// ExitPrefer lets connections go to their targets without an exit while none answers.
	ExitPrefer = "prefer"
	// ExitRequire lets them fail instead.
	ExitRequire = "require"
)

// maxExits is how many exits may be named. A Service in front of several takes one name.
const maxExits = 16

const exampleExit = "10.250.0.10:9443"

// ExitFlags are the flags about exits as they were given.
type ExitFlags struct {
	// Exit is --exit, host:port each.
	Exit []string
	// ExitCACert, ExitClientCert and ExitClientKey are --exit-ca-cert, --exit-client-cert
	// and --exit-client-key, paths of PEM files.
	ExitCACert, ExitClientCert, ExitClientKey string
	// ExitServerName is --exit-server-name, empty for the host of each exit.
	ExitServerName string
	// ExitPolicy is --exit-policy, ExitPrefer or ExitRequire.
	ExitPolicy string
}

func (o *ExitFlags) flags() []flagset.Flag {
	return []flagset.Flag{
		flagset.List("exit", &o.Exit, "`exits` in the shoot, host:port each, as agents dial them, such as "+exampleExit+"; connections go through one of them; comma-separated or repeated"),
		flagset.Text("exit-ca-cert", &o.ExitCACert, "PEM `file` with the CA certificates that exits are verified against; required with --exit"),
		flagset.Text("exit-server-name", &o.ExitServerName, "`name` to ask exits for (TLS SNI) and to verify (default the host of each --exit)"),
		flagset.Text("exit-client-cert", &o.ExitClientCert, "PEM `file` with the client certificate by which exits know this client; required with --exit"),
		flagset.Text("exit-client-key", &o.ExitClientKey, "PEM `file` with the key of --exit-client-cert"),
		flagset.Text("exit-policy", &o.ExitPolicy, "what becomes of connections while no exit answers, a `policy`: prefer lets them go to their targets without one, require lets them fail"),
	}
}

// exits validates the flags. check validates the content of the TLS files.
func (o *ExitFlags) exits(check func(tlsFiles) error) (tunnel.Exits, error) {
	if o.ExitPolicy != ExitPrefer && o.ExitPolicy != ExitRequire {
		return tunnel.Exits{}, &flagset.UsageError{Flag: flagExitPolicy, Value: o.ExitPolicy, Problem: "is not a policy: write prefer or require"}
	}
	targets, err := o.targets()
	if err != nil {
		return tunnel.Exits{}, err
	}
	if len(targets) == 0 {
		return tunnel.Exits{}, o.withoutExit()
	}
	files := tlsFiles{
		ca:   tlsFile{path: o.ExitCACert, source: flagSource(flagExitCACert, o.ExitCACert)},
		cert: tlsFile{path: o.ExitClientCert, source: flagSource(flagExitClientCert, o.ExitClientCert)},
		key:  tlsFile{path: o.ExitClientKey, source: flagSource(flagExitClientKey, o.ExitClientKey)},
	}
	needs := func(flag, why string) error {
		return &flagset.UsageError{Flag: FlagExit, Value: strings.Join(o.Exit, ","), Problem: "needs " + flag + ": " + why}
	}
	switch {
	case o.ExitCACert == "":
		return tunnel.Exits{}, needs(flagExitCACert, "without a CA nothing tells the exit from an impostor")
	case o.ExitClientCert == "" && o.ExitClientKey == "":
		return tunnel.Exits{}, needs(flagExitClientCert+" and "+flagExitClientKey,
			"an exit decides by the certificate what this client may reach, and --client-cert is never shown to it unless it is given here too")
	}
	if err := check(files); err != nil {
		return tunnel.Exits{}, err
	}
	name := strings.TrimSpace(o.ExitServerName)
	if o.ExitServerName != "" {
		if err := checkHost(name, onlyName); err != nil {
			return tunnel.Exits{}, &flagset.UsageError{Flag: flagExitServerName, Value: o.ExitServerName, Problem: err.Error(), Err: err}
		}
	}
	return tunnel.Exits{
		Targets: targets, Required: o.ExitPolicy == ExitRequire,
		TLS: tunnel.TLS{CAFile: o.ExitCACert, CertFile: o.ExitClientCert, KeyFile: o.ExitClientKey, ServerName: name},
	}, nil
}

// targets reads --exit.
func (o *ExitFlags) targets() ([]tunnel.HostPort, error) {
	values, err := elements(FlagExit, o.Exit, "10.250.0.10:9443,10.250.0.11:9443")
	if err != nil {
		return nil, err
	}
	var targets []tunnel.HostPort
	for _, value := range values {
		target, err := parseExit(value)
		for _, other := range targets {
			if err == nil && other == target {
				err = errors.New("is given twice: write it once")
			}
		}
		if err == nil && len(targets) == maxExits {
			err = fmt.Errorf("is one too many: at most %d exits can be named, and a Service in the shoot can stand for more", maxExits)
		}
		if err != nil {
			return nil, &flagset.UsageError{Flag: FlagExit, Value: value, Problem: err.Error(), Err: err}
		}
		targets = append(targets, target)
	}
	return targets, nil
}

// parseExit reads one exit: host:port or [IPv6]:port. A name stays as it is written, because
// a proxy-server may compare it letter by letter.
func parseExit(value string) (tunnel.HostPort, error) {
	if strings.Contains(value, "://") {
		return "", errors.New("is a URL: write host:port alone, like " + exampleExit)
	}
	host, port, err := hostPort(value, exampleExit)
	if err != nil {
		return "", err
	}
	if host == "" {
		return "", errors.New("has no host: write it like " + exampleExit)
	}
	if err := checkHost(host, "write the address or name of an exit"); err != nil {
		return "", fmt.Errorf("has a host that %w", err)
	}
	return tunnel.HostPort(net.JoinHostPort(canonicalHost(host), strconv.Itoa(int(port)))), nil
}

// withoutExit refuses flags that mean nothing without an exit.
func (o *ExitFlags) withoutExit() error {
	for _, one := range []struct{ flag, value string }{
		{flagExitCACert, o.ExitCACert},
		{flagExitServerName, o.ExitServerName},
		{flagExitClientCert, o.ExitClientCert},
		{flagExitClientKey, o.ExitClientKey},
		{flagExitPolicy, strings.TrimPrefix(o.ExitPolicy, ExitPrefer)},
	} {
		if one.value != "" {
			return &flagset.UsageError{Flag: one.flag, Value: one.value, Problem: "is about an exit, and none is named: give " + FlagExit + " too, or leave this flag out"}
		}
	}
	return nil
}
