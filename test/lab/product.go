// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// Ports of the sidecar: the product's defaults.
const (
	ProxyPort  = defaults.ProxyPort
	HealthPort = defaults.HealthPort
)

// ShootFlags returns the flags that init-redirect and proxy-client share: the shoot's
// CIDRs in the lab's ShootFamilies.
func (l *Lab) ShootFlags() []string {
	var pods, services, nodes []string
	for _, f := range l.opts.ShootFamilies.Each() {
		pods, services, nodes = append(pods, PodCIDR(f)), append(services, ServiceCIDR(f)), append(nodes, NodeCIDR(f))
	}
	return []string{
		"--shoot-pod-cidr=" + strings.Join(pods, ","),
		"--shoot-service-cidr=" + strings.Join(services, ","),
		"--shoot-node-cidr=" + strings.Join(nodes, ","),
	}
}

// InitRedirectCommand returns init-redirect with a subcommand and the shoot's CIDRs.
func (l *Lab) InitRedirectCommand(subcommand string, extra ...string) Command {
	args := append([]string{subcommand}, l.ShootFlags()...)
	return Command{Path: l.worldBin("init-redirect"), Args: append(args, extra...)}
}

// InitRedirect runs a subcommand of init-redirect (apply, verify, plan, dump,
// clean) in the client's pod, as root.
func (l *Lab) InitRedirect(ctx context.Context, subcommand string, extra ...string) (Result, error) {
	return l.Pod.Run(ctx, l.InitRedirectCommand(subcommand, extra...))
}

// ProxyClientCommand returns the sidecar's command line, including its uid. It names all
// servers and the client's files, except for what extra sets, because a flag has one
// value.
func (l *Lab) ProxyClientCommand(extra ...string) Command {
	own := []string{"--log-format=json", "--proxy-server=" + l.Frontend()}
	if l.opts.Transport == TCP {
		own = append(own, "--ca-cert="+l.Certs.FrontendCA, "--client-cert="+l.Certs.ClientCert, "--client-key="+l.Certs.ClientKey)
	}
	args := append(l.ShootFlags(), withoutGiven(own, extra)...)
	return Command{Path: l.worldBin("proxy-client"), Args: append(args, extra...), UID: ProxyUID}
}

// withoutGiven returns the flags of own that are not in extra, with whatever value.
func withoutGiven(own, extra []string) []string {
	return slices.DeleteFunc(own, func(flag string) bool {
		name, _, _ := strings.Cut(flag, "=")
		return slices.ContainsFunc(extra, func(other string) bool { return strings.HasPrefix(other, name+"=") })
	})
}

// StartProxyClient starts the sidecar in the client's pod and waits until it is
// ready.
func (l *Lab) StartProxyClient(ctx context.Context, extra ...string) (*Process, error) {
	return l.StartSidecar(ctx, l.ProxyClientCommand(extra...))
}

// StartSidecar does the same as StartProxyClient with a command line of the caller's own.
func (l *Lab) StartSidecar(ctx context.Context, c Command) (*Process, error) {
	p, err := l.StartSidecarIn(l.Pod, c)
	if err != nil {
		return nil, err
	}
	return p, l.WaitSidecar(ctx, l.Pod, p, "/readyz")
}

// StartSidecarIn starts a sidecar in a pod, and does not wait for it.
func (l *Lab) StartSidecarIn(pod *Namespace, c Command) (*Process, error) {
	l.sidecarStarts++
	return pod.Start(fmt.Sprint("proxy-client-", l.sidecarStarts), c)
}

// WaitSidecar waits until a path of a pod's sidecar answers: /livez if it listens, /readyz
// if it also reaches a server.
func (l *Lab) WaitSidecar(ctx context.Context, pod *Namespace, sidecar *Process, path string) error {
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return pod.waitHealthy(ctx, sidecar, l.SidecarURL(path))
}

// SidecarURL returns the URL of a path on the sidecar's health address, as seen in the
// pod.
func (l *Lab) SidecarURL(path string) string {
	host := "127.0.0.1"
	if !l.opts.PodFamilies.Has(IPv4) {
		host = "::1"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(HealthPort)) + path
}

// SidecarMetrics reads the sidecar's metrics.
func (l *Lab) SidecarMetrics(ctx context.Context) (Metrics, error) {
	return l.Pod.metrics(ctx, l.SidecarURL("/metrics"))
}

// SidecarLog returns what the sidecar that was started last has logged.
func (l *Lab) SidecarLog() string {
	text, err := os.ReadFile(filepath.Join(l.Dir, "logs", fmt.Sprintf("proxy-client-%d.log", l.sidecarStarts)))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
