// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/test/kube/daemon"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Options describe the cluster to start. The zero value is enough for most tests.
type Options struct {
	// ServiceCIDR is the range of Services' addresses, 10.0.0.0/24 if empty: no program
	// answers there. In a part of 127.0.0.0/8 a test's own process can answer.
	ServiceCIDR string
}

// Cluster is a control plane that runs.
type Cluster struct {
	// Dir is the cluster's temporary folder. A test may put files there too.
	Dir string

	options   Options
	binaries  binaries
	ca        *lab.Authority
	cert, key string
	address   string
	tokens    tokens
	processes []*daemon.Process
	ports     []*daemon.Port
}

// Start starts a cluster, and returns once kube-apiserver says that it is ready. If it
// fails, nothing is left behind.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	b, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kube")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, options: opts, binaries: b}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a cluster: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	var err error
	if c.ca, err = lab.NewAuthority(c.Dir, "ca"); err != nil {
		return err
	}
	loopback := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if c.cert, c.key, err = c.ca.Issue("serving", loopback, nil); err != nil {
		return err
	}
	if c.tokens, err = writeTokens(c.path("tokens.csv")); err != nil {
		return err
	}
	etcd, err := c.startEtcd(ctx)
	if err != nil {
		return err
	}
	return c.startAPIServer(ctx, etcd)
}

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// hold finds a free port, and reserves it for the cluster until its end.
func (c *Cluster) hold() (*daemon.Port, error) {
	port, err := daemon.HoldPort()
	if err == nil {
		c.ports = append(c.ports, port)
	}
	return port, err
}

func (c *Cluster) run(name, path string, args ...string) (*daemon.Process, error) {
	p, err := daemon.Start(name, c.Dir, path, args...)
	if err == nil {
		c.processes = append(c.processes, p)
	}
	return p, err
}

// startEtcd starts an etcd, and returns its address once it serves.
func (c *Cluster) startEtcd(ctx context.Context) (string, error) {
	client, err := c.hold()
	if err != nil {
		return "", err
	}
	peer, err := c.hold()
	if err != nil {
		return "", err
	}
	p, err := c.run("etcd", c.binaries.etcd,
		"--data-dir", c.path("etcd"),
		"--listen-client-urls", "http://"+client.Address(), "--advertise-client-urls", "http://"+client.Address(),
		"--listen-peer-urls", "http://"+peer.Address(), "--initial-advertise-peer-urls", "http://"+peer.Address(),
		"--initial-cluster", "default=http://"+peer.Address(),
	)
	if err != nil {
		return "", err
	}
	url := "http://" + client.Address()
	return url, p.WaitUntil(ctx, "its health", func(ctx context.Context) error {
		return get(ctx, http.DefaultClient, url+"/health")
	})
}

func (c *Cluster) startAPIServer(ctx context.Context, etcd string) error {
	port, err := c.hold()
	if err != nil {
		return err
	}
	signing, key, err := c.ca.Issue("service-accounts", nil, nil)
	if err != nil {
		return err
	}
	p, err := c.run("kube-apiserver", c.binaries.apiServer,
		"--etcd-servers", etcd,
		"--bind-address", "127.0.0.1", "--secure-port", port.String(), "--advertise-address", "127.0.0.1",
		"--endpoint-reconciler-type", "none", // an Endpoints object may not hold 127.0.0.1
		"--tls-cert-file", c.cert, "--tls-private-key-file", c.key, "--cert-dir", c.Dir,
		"--token-auth-file", c.path("tokens.csv"), "--authorization-mode", "RBAC",
		"--service-cluster-ip-range", cmp.Or(c.options.ServiceCIDR, "10.0.0.0/24"),
		// With this feature gate kube-apiserver asks the watch cache for what Debian's
		// etcd cannot report yet, and complains several times a second. etcd 3.4.31 can.
		"--feature-gates", "SizeBasedListCostEstimate=false",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", signing, "--service-account-signing-key-file", key,
	)
	if err != nil {
		return err
	}
	c.address = "https://" + port.Address()
	client, err := rest.HTTPClientFor(c.Admin())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return p.WaitUntil(ctx, "its readiness", func(ctx context.Context) error {
		return get(ctx, client, c.address+"/readyz")
	})
}

// StartControllerManager runs every default controller. From then on namespaces get their
// ServiceAccount, Deployments get their pods, and deleted objects are removed.
func (c *Cluster) StartControllerManager(ctx context.Context) error {
	port, err := c.hold()
	if err != nil {
		return err
	}
	kubeconfig, err := c.Kubeconfig("controller-manager", c.tokens.controllerManager)
	if err != nil {
		return err
	}
	p, err := c.run("kube-controller-manager", c.binaries.controllerManager,
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--bind-address", "127.0.0.1", "--secure-port", port.String(),
		"--tls-cert-file", c.cert, "--tls-private-key-file", c.key,
		"--use-service-account-credentials", "--service-account-private-key-file", c.path("service-accounts.key"),
		"--root-ca-file", c.ca.File, "--leader-elect=false",
	)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.Admin())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return p.WaitUntil(ctx, "its health", func(ctx context.Context) error {
		return get(ctx, client, "https://"+port.Address()+"/healthz")
	})
}

// PIDs returns the ids of the processes.
func (c *Cluster) PIDs() []int {
	var pids []int
	for _, p := range c.processes {
		pids = append(pids, p.PID())
	}
	return pids
}

// Ended returns nil while every process runs.
func (c *Cluster) Ended() error {
	var errs []error
	for _, p := range c.processes {
		errs = append(errs, p.Ended())
	}
	return errors.Join(errs...)
}

// Logs returns the last lines of each process.
func (c *Cluster) Logs() string {
	var text strings.Builder
	for _, p := range c.processes {
		fmt.Fprintf(&text, "--- %s\n%s\n", p.Name, p.Log(40))
	}
	return text.String()
}

// Close ends every process, the last one first, and removes every file.
func (c *Cluster) Close() error {
	for _, p := range slices.Backward(c.processes) {
		p.Kill()
	}
	for _, port := range c.ports {
		port.Release()
	}
	c.processes, c.ports = nil, nil
	return os.RemoveAll(c.Dir)
}

// get expects a 200 answer.
func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.300s", url, resp.Status, body)
	}
	return nil
}
