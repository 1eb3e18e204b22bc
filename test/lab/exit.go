// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MaxExits is how many exits a shoot can have.
const MaxExits = 4

// ExitPort is the port of each exit.
const ExitPort = 9443

// exitHealth is the first exit's port for health checks and metrics. The exits share one
// namespace, so the second one's port follows it.
const exitHealth = 9444

// ExitUID is the uid of the exits. They have no capability.
const ExitUID = 20443

// ExitName is a DNS name in the certificate of each exit.
const ExitName = "exit.shoot.lab"

// ExitAddress returns the address of the exit with that index, from 0. It is one of the
// shoot's pod addresses. The agents reach the exit there, as they reach any target.
func ExitAddress(f Families, index int) netip.Addr {
	return netip.MustParseAddr(pick(f, fmt.Sprintf("100.64.2.%d", index+1), fmt.Sprintf("fd10:64::2:%x", index+1)))
}

// The exit's gauges.
const (
	ExitConnections = "proxy_exit_connections_active" // of clients: the tunnels
	ExitStreams     = "proxy_exit_streams_active"
)

// Exit is one proxy-exit of the shoot: the product's own program, beside the agents.
type Exit struct {
	// Process is the exit's latest process. After a Kill, Start makes another.
	*Process
	// Index is the exit's index in Lab.Exits.
	Index int
	// Flags are further flags, from the next Start on. One of them replaces a flag of
	// the lab's own.
	Flags []string

	lab    *Lab
	starts int
}

// startExits makes the exits' certificates and policy, and starts all of them.
func (l *Lab) startExits(ctx context.Context) (err error) {
	if l.ExitCerts, err = newExitCertificates(filepath.Join(l.Dir, "certs")); err != nil {
		return err
	}
	if err := l.WriteExitPolicy(l.ExitPolicy()); err != nil {
		return err
	}
	for i := range l.opts.Exits {
		e := &Exit{Index: i, Flags: l.opts.ExitFlags, lab: l}
		l.Exits = append(l.Exits, e)
		if err := e.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Start starts the exit, also again after it has ended, and waits until it is ready.
func (e *Exit) Start(ctx context.Context) error {
	e.starts++
	process, err := e.lab.Shoot.Start(fmt.Sprintf("exit%d-%d", e.Index, e.starts), Command{
		Path: e.lab.worldBin("proxy-exit"), Args: e.args(), UID: ExitUID,
	})
	if err != nil {
		return err
	}
	e.Process = process
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return e.lab.Shoot.waitHealthy(ctx, process, e.url("/readyz"))
}

// Restart kills the exit and starts it again.
func (e *Exit) Restart(ctx context.Context) error {
	e.Kill()
	return e.Start(ctx)
}

func (e *Exit) args() []string {
	own := []string{
		"--listen-address=" + e.Address(),
		"--health-address=" + e.health(),
		"--tls-cert=" + e.lab.ExitCerts.Cert, "--tls-key=" + e.lab.ExitCerts.Key, "--client-ca=" + e.lab.ExitCerts.CA,
		"--policy=" + e.lab.exitPolicy(), "--log-format=json",
	}
	return slices.Concat([]string{"serve"}, withoutGiven(own, e.Flags), e.Flags)
}

// Address returns the exit's address and port, as the agents reach it.
func (e *Exit) Address() string {
	return net.JoinHostPort(ExitAddress(IPv4, e.Index).String(), strconv.Itoa(ExitPort))
}

func (e *Exit) health() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(exitHealth+e.Index))
}

func (e *Exit) url(path string) string { return "http://" + e.health() + path }

// MetricsText reads the exit's metrics, in Prometheus' format.
func (e *Exit) MetricsText(ctx context.Context) (string, error) {
	return Get(ctx, e.lab.Shoot.HTTP(), e.url("/metrics"))
}

// Metrics reads the exit's metrics.
func (e *Exit) Metrics(ctx context.Context) (Metrics, error) {
	return e.lab.Shoot.metrics(ctx, e.url("/metrics"))
}

// ExitFlags returns the sidecar's flags for an exit: all exits of the lab by their
// addresses, and the files. The sidecar then carries nothing without an exit, so that what
// works in a test has gone through one. Extra flags follow, in the place of these where
// both set the same.
func (l *Lab) ExitFlags(extra ...string) []string {
	own := []string{
		"--exit-ca-cert=" + l.ExitCerts.CA, "--exit-server-name=" + ExitName,
		"--exit-client-cert=" + l.ExitCerts.ClientCert, "--exit-client-key=" + l.ExitCerts.ClientKey,
		"--exit-policy=require",
	}
	for _, e := range l.Exits {
		own = append(own, "--exit="+e.Address())
	}
	return slices.Concat(withoutGiven(own, extra), extra)
}

// ExitPolicy returns the policy that the exits have at first: the sidecar's client may
// reach all of the shoot, on each port.
func (l *Lab) ExitPolicy() string {
	var cidrs []string
	for _, f := range DualStack.Each() {
		cidrs = append(cidrs, PodCIDR(f), ServiceCIDR(f), NodeCIDR(f))
	}
	return ExitPolicyText(ExitClientName, cidrs...)
}

// ExitPolicyText returns a policy with one rule: the client with that common name may
// reach these CIDRs.
func ExitPolicyText(commonName string, cidrs ...string) string {
	return fmt.Sprintf(`apiVersion: config.shoot-proxy.io/v1alpha1
kind: ExitPolicy
rules:
  - clients: [{commonName: %q}]
    cidrs: ["%s"]
`, commonName, strings.Join(cidrs, `", "`))
}

// WriteExitPolicy replaces the policy of all exits at once, by a rename. They read it
// again by themselves.
func (l *Lab) WriteExitPolicy(text string) error {
	next := l.exitPolicy() + ".new"
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, l.exitPolicy())
}

func (l *Lab) exitPolicy() string { return filepath.Join(l.Dir, "exit-policy.yaml") }

// CheckExit returns an error if proxy-exit has not been built. The error says what to do.
func (o Options) CheckExit() error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(o.Bin, "proxy-exit")); err != nil {
		return fmt.Errorf("product binary is missing: %w; `make build` makes it", err)
	}
	return nil
}
