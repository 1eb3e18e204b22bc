// SPDX-License-Identifier: Apache-2.0

package options

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// ProxyExitPrefix begins the variables of proxy-exit: PROXY_EXIT_LISTEN_ADDRESS.
const ProxyExitPrefix = "PROXY_EXIT"

// FlagPolicy is the flag of proxy-exit that names the policy file.
const FlagPolicy = "--policy"

// ProxyExit are the flags of proxy-exit serve as they were given, validated by Config. Make
// one with [NewProxyExit]: the zero value has no defaults.
type ProxyExit struct {
	// ListenAddress and HealthAddress are --listen-address and --health-address, host:port
	// or :port.
	ListenAddress, HealthAddress string
	// TLSCert, TLSKey and ClientCA are --tls-cert, --tls-key and --client-ca, paths of PEM
	// files.
	TLSCert, TLSKey, ClientCA string
	// Policy is --policy, the path of an ExitPolicy.
	Policy string
	// DialTimeout and DrainTimeout are --dial-timeout and --drain-timeout.
	DialTimeout, DrainTimeout time.Duration
	// MaxConnections and MaxStreams are --max-connections and --max-streams, the limits of all
	// clients together.
	MaxConnections, MaxStreams int64
	// MaxClientConnections and MaxClientStreams are --max-client-connections and
	// --max-client-streams, the limits of one client. They are 0 if they were left out.
	MaxClientConnections, MaxClientStreams int64
	// TotalBuffer is --total-buffer, in bytes.
	TotalBuffer int64
	// LogFormat and LogLevel are --log-format and --log-level.
	LogFormat, LogLevel string
}

// NewProxyExit returns proxy-exit's flags at their defaults.
func NewProxyExit() *ProxyExit {
	log := defaultShared()
	return &ProxyExit{
		ListenAddress:  fmt.Sprintf(":%d", defaults.ExitPort),
		HealthAddress:  fmt.Sprintf(":%d", defaults.ExitHealthPort),
		DialTimeout:    defaults.ExitDialTimeout,
		DrainTimeout:   defaults.DrainTimeout,
		MaxConnections: defaults.ExitConnections,
		MaxStreams:     defaults.ExitStreams,
		TotalBuffer:    defaults.ExitBuffer,
		LogFormat:      log.LogFormat,
		LogLevel:       log.LogLevel,
	}
}

func (o *ProxyExit) flags() []flagset.Flag {
	return []flagset.Flag{
		flagset.Text("listen-address", &o.ListenAddress, "`address` where clients connect: host:port, or :port for all addresses"),
		flagset.Text("tls-cert", &o.TLSCert, "PEM `file` with the server certificate that clients verify; required"),
		flagset.Text("tls-key", &o.TLSKey, "PEM `file` with the key of --tls-cert; required"),
		flagset.Text("client-ca", &o.ClientCA, "PEM `file` with the CA certificates that clients are verified against; required"),
		flagset.Text("policy", &o.Policy, "`file` with the ExitPolicy, YAML or JSON: which clients may reach what; required"),
		flagset.Text("health-address", &o.HealthAddress, "`address` of /livez, /readyz and /metrics: host:port, or :port for all addresses"),
		flagset.Duration("dial-timeout", &o.DialTimeout, "the whole budget of one dial, its lookup included: a `duration` such as 5s, less than --dial-timeout of the clients"),
		flagset.Duration("drain-timeout", &o.DrainTimeout, "how long SIGTERM waits for open streams before it resets them: a `duration` such as 20s, less than the pod's grace period"),
		flagset.Number("max-connections", &o.MaxConnections, "how many `connections` all clients together may have; each carries many streams"),
		{
			Name: "max-client-connections", Value: &limitValue{&o.MaxClientConnections, errConnections},
			Usage: fmt.Sprintf("how many `connections` one client may have; clients with the same certificate names are one (default %d, or --max-connections if that is less)", defaults.ExitClientConnections),
		},
		flagset.Number("max-streams", &o.MaxStreams, "how many `streams` all clients together may have; each is one connection to a target"),
		{
			Name: "max-client-streams", Value: &limitValue{&o.MaxClientStreams, errStreams},
			Usage: fmt.Sprintf("how many `streams` one client may have (default %d, or --max-streams if that is less)", defaults.ExitClientStreams),
		},
		flagset.Size("total-buffer", &o.TotalBuffer, "by how much the windows of all streams together may grow beyond 16KiB for each, and from 2MiB on what waits for clients beyond 64KiB for each connection; one client takes half of what is free at most: a `size` such as 64MiB"),
		flagset.Text("log-format", &o.LogFormat, "`format` of the log on standard error: text or json"),
		flagset.Text("log-level", &o.LogLevel, "least `level` that is logged: debug, info, warn or error"),
	}
}

// AddFlags registers the flags on fs, and sets o to their defaults.
func (o *ProxyExit) AddFlags(fs *pflag.FlagSet) {
	*o = *NewProxyExit()
	flagset.Add(fs, o.flags())
}

// ProxyExitConfig is what proxy-exit needs to run, validated.
type ProxyExitConfig struct {
	// ListenAddress and HealthAddress are host:port, with an empty host for all addresses.
	ListenAddress, HealthAddress string
	// TLS names the three files: CAFile is of the CAs of clients.
	TLS tunnel.TLS
	// TLSNames are the flags that have named the files.
	TLSNames tunnel.SettingNames
	// Policy is a path. The file is not read.
	Policy string
	// DialTimeout and DrainTimeout are positive.
	DialTimeout, DrainTimeout time.Duration
	// The limits are positive. One client has at most what all clients together have.
	MaxConnections, MaxClientConnections, MaxStreams, MaxClientStreams int
	// TotalBuffer is in bytes, and may be 0.
	TotalBuffer int64
	// Log says how to log.
	Log Log
}

// Config validates the flags and the TLS files. It returns the first mistake as a
// [*flagset.UsageError].
func (o *ProxyExit) Config() (*ProxyExitConfig, error) {
	log, err := ParseLog(o.LogFormat, o.LogLevel)
	if err != nil {
		return nil, err
	}
	if err := o.checkNumbers(); err != nil {
		return nil, err
	}
	clientConnections, clientStreams, err := o.clientLimits()
	if err != nil {
		return nil, err
	}
	if err := o.checkAddresses(); err != nil {
		return nil, err
	}
	for _, file := range []struct{ flag, path, what string }{
		{"--tls-cert", o.TLSCert, "clients verify the exit by its certificate"},
		{"--tls-key", o.TLSKey, "the exit proves with it that the certificate is its own"},
		{"--client-ca", o.ClientCA, "without a CA everybody would be a client"},
		{FlagPolicy, o.Policy, "nothing is allowed that it does not say"},
	} {
		if file.path == "" {
			return nil, &flagset.UsageError{Flag: file.flag, Problem: "is missing: name a file, because " + file.what}
		}
	}
	files := tlsFiles{
		ca:     tlsFile{path: o.ClientCA, source: flagSource("--client-ca", o.ClientCA)},
		cert:   tlsFile{path: o.TLSCert, source: flagSource("--tls-cert", o.TLSCert)},
		key:    tlsFile{path: o.TLSKey, source: flagSource("--tls-key", o.TLSKey)},
		server: true,
	}
	if err := files.check(time.Now()); err != nil {
		return nil, err
	}
	return &ProxyExitConfig{
		ListenAddress: strings.TrimSpace(o.ListenAddress), HealthAddress: strings.TrimSpace(o.HealthAddress),
		TLS:      tunnel.TLS{CAFile: o.ClientCA, CertFile: o.TLSCert, KeyFile: o.TLSKey},
		TLSNames: tunnel.SettingNames{CACert: "--client-ca", ClientCert: "--tls-cert", ClientKey: "--tls-key"},
		Policy:   o.Policy, DialTimeout: o.DialTimeout, DrainTimeout: o.DrainTimeout,
		MaxConnections: int(o.MaxConnections), MaxClientConnections: clientConnections,
		MaxStreams: int(o.MaxStreams), MaxClientStreams: clientStreams,
		TotalBuffer: o.TotalBuffer, Log: log,
	}, nil
}

// checkNumbers validates durations and limits.
func (o *ProxyExit) checkNumbers() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"--dial-timeout", o.DialTimeout}, {"--drain-timeout", o.DrainTimeout}} {
		if d.value <= 0 {
			return &flagset.UsageError{Flag: d.flag, Value: d.value.String(), Problem: "is not positive: write a duration above zero, such as 5s"}
		}
	}
	for _, l := range []struct {
		flag    string
		value   int64
		problem error
	}{{"--max-connections", o.MaxConnections, errConnections}, {"--max-streams", o.MaxStreams, errStreams}} {
		if l.value < 1 || l.value > maxLimit {
			return &flagset.UsageError{Flag: l.flag, Value: strconv.FormatInt(l.value, 10), Problem: l.problem.Error()}
		}
	}
	if o.TotalBuffer < 0 {
		return &flagset.UsageError{Flag: "--total-buffer", Value: flagset.FormatSize(o.TotalBuffer), Problem: "is less than nothing: write a size such as 64MiB, or 0 so that no window grows"}
	}
	return nil
}

// What is wrong with a limit.
var (
	errConnections = fmt.Errorf("is not a number of connections: write a whole number from 1 to %d", maxLimit)
	errStreams     = fmt.Errorf("is not a number of streams: write a whole number from 1 to %d", maxLimit)
)

// clientLimits returns the limits of one client. A default is no more than the limit of all
// clients.
func (o *ProxyExit) clientLimits() (connections, streams int, err error) {
	for _, l := range []struct {
		flag, total  string
		value, limit int64
		otherwise    int64
		to           *int
	}{
		{"--max-client-connections", "--max-connections", o.MaxClientConnections, o.MaxConnections, defaults.ExitClientConnections, &connections},
		{"--max-client-streams", "--max-streams", o.MaxClientStreams, o.MaxStreams, defaults.ExitClientStreams, &streams},
	} {
		if l.value > l.limit {
			problem := fmt.Sprintf("is more than all clients together may have, %s %d: lower the one or raise the other", l.total, l.limit)
			return 0, 0, &flagset.UsageError{Flag: l.flag, Value: strconv.FormatInt(l.value, 10), Problem: problem}
		}
		*l.to = int(cmp.Or(l.value, min(l.otherwise, l.limit)))
	}
	return connections, streams, nil
}

// checkAddresses validates the two addresses, which have to differ.
func (o *ProxyExit) checkAddresses() error {
	var ports []string
	for _, a := range []struct {
		flag, value string
		port        int
	}{{"--listen-address", o.ListenAddress, defaults.ExitPort}, {FlagHealthAddress, o.HealthAddress, defaults.ExitHealthPort}} {
		value := strings.TrimSpace(a.value)
		host, port, err := hostPort(value, fmt.Sprintf("0.0.0.0:%d", a.port))
		if err == nil && host != "" && net.ParseIP(host) == nil {
			err = checkHost(host, "write an address of this pod, or none for all of them")
		}
		if err != nil {
			return &flagset.UsageError{Flag: a.flag, Value: value, Problem: err.Error(), Err: err}
		}
		ports = append(ports, strconv.Itoa(int(port)))
	}
	if ports[0] == ports[1] {
		return &flagset.UsageError{Flag: FlagHealthAddress, Value: o.HealthAddress, Problem: "has the port of --listen-address: write another"}
	}
	return nil
}
