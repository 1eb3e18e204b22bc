// SPDX-License-Identifier: Apache-2.0

// Package seed runs a cluster of one node on this machine, the seed. Its control plane is
// made of programs of that node.
//
//	s, err := seed.Start(ctx, seed.Config{Parent: folder, Binaries: "test/bin", …})
//	defer s.Close()
//	client, err := kubernetes.NewForConfig(s.Admin())
package seed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/test/cluster/control"
	"github.com/shoot-proxy/proxy-client/test/cluster/dns"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/node"
)

// Addresses of the seed. It is alone in its network namespace.
var (
	// Address is the node's address.
	Address = netip.AddrFrom4([4]byte{10, 241, 255, 1})
	// Pods, Services and DNS are those of the cluster.
	Pods       = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 241, 0, 0}), 24)
	Services   = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 242, 0, 0}), 24)
	DNS        = netip.AddrFrom4([4]byte{10, 242, 0, 10})
	kubernetes = netip.AddrFrom4([4]byte{10, 242, 0, 1}) // the Service of kube-apiserver
)

// apiServerPort is the port of kube-apiserver.
const apiServerPort = 6443

// Config describes the seed to start.
type Config struct {
	// Parent, Cgroup, Binaries, Sandbox and FailureLogs are those of [node.Config].
	Parent, Cgroup, Binaries, Sandbox, FailureLogs string
	// Archives are the images of its pods.
	Archives []string
}

// Seed is a cluster that runs.
type Seed struct {
	Node        *node.Node
	Credentials *control.Credentials
}

// Start starts a seed, and returns once kube-apiserver, the kubelet and kube-proxy run.
// If it fails, nothing is left behind.
func Start(ctx context.Context, config Config) (*Seed, error) {
	n, err := node.Start(ctx, node.Config{
		Name: "seed", Parent: config.Parent, Cgroup: config.Cgroup, Binaries: config.Binaries, Sandbox: config.Sandbox,
		Address: Address, Pods: Pods, Services: Services, FailureLogs: config.FailureLogs,
	})
	if err != nil {
		return nil, err
	}
	s := &Seed{Node: n}
	if err := s.start(ctx, config); err != nil {
		return nil, n.Abandon(fmt.Errorf("start the seed: %w", err))
	}
	return s, nil
}

// Close removes all of it.
func (s *Seed) Close() error { return s.Node.Close() }

// Server returns kube-apiserver's address in the node's network.
func (s *Seed) Server() netip.AddrPort { return netip.AddrPortFrom(Address, apiServerPort) }

// Admin returns access with all rights and without a client-side rate limit.
func (s *Seed) Admin() *rest.Config {
	return s.Credentials.Admin("https://"+s.Server().String(), s.Node.DialContext)
}

func (s *Seed) start(ctx context.Context, config Config) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for _, archive := range config.Archives {
			if err := s.Node.Import(ctx, archive); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error { return s.startCluster(ctx) })
	return group.Wait()
}

func (s *Seed) startCluster(ctx context.Context) error {
	files := filepath.Join(s.Node.Handle.Dir, "files")
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	var err error
	s.Credentials, err = control.NewCredentials(files, []netip.Addr{loopback, Address, kubernetes}, []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost",
	})
	if err != nil {
		return err
	}
	url := "https://" + s.Server().String()
	if err := node.WriteKubeconfig(filepath.Join(files, control.KubeconfigFile), url, s.Credentials.CA.File, s.Credentials.Token); err != nil {
		return err
	}
	if err := s.Credentials.GiveToUser(); err != nil {
		return err
	}
	if err := s.startControlPlane(ctx); err != nil {
		return err
	}
	cert, key, err := s.Credentials.CA.Issue("node", []netip.Addr{Address}, []string{s.Node.Name})
	if err != nil {
		return err
	}
	if err := control.AllowKubeletClient(ctx, s.Admin()); err != nil {
		return err
	}
	if err := dns.Deploy(ctx, s.Admin(), image.Reference(image.CoreDNS), DNS); err != nil {
		return err
	}
	return s.Node.StartKubelet(ctx, node.Access{
		Server: url, CA: s.Credentials.CA.File, Token: s.Credentials.Token, Cert: cert, Key: key, DNS: DNS,
	})
}

// startControlPlane returns once kube-apiserver is ready. The controllers and the
// scheduler become ready later by themselves.
func (s *Seed) startControlPlane(ctx context.Context) error {
	flags := control.Flags{
		Credentials: node.Dir + "/files", Kubeconfig: node.Dir + "/files/" + control.KubeconfigFile,
		Etcd: "http://127.0.0.1:2379", Services: Services,
	}
	etcd := append([]string{"etcd"}, control.EtcdArgs("/var/lib/etcd", "127.0.0.1:2379", "127.0.0.1:2380")...)
	apiServer := append([]string{
		node.Binaries + "/kube/kube-apiserver",
		"--bind-address", Address.String(), "--secure-port", fmt.Sprint(apiServerPort), "--advertise-address", Address.String(),
		"--cert-dir", "/tmp/kube-apiserver",
	}, flags.APIServerArgs()...)
	programs := []node.Program{
		{Name: "etcd", Args: etcd},
		{Name: "kube-apiserver", Args: apiServer, User: control.User},
	}
	for _, p := range programs {
		if err := s.Node.StartProgram(p); err != nil {
			return err
		}
	}
	config := s.Admin()
	err := s.Node.WaitFor(ctx, "kube-apiserver", "its readiness", func(ctx context.Context) error {
		return control.Ready(ctx, config)
	})
	if err != nil {
		return err
	}
	return errors.Join(
		s.Node.StartProgram(node.Program{
			Name: "kube-controller-manager", User: control.User,
			Args: append([]string{node.Binaries + "/kube/kube-controller-manager", "--cert-dir", "/tmp/kube-controller-manager"}, flags.ControllerManagerArgs()...),
		}),
		s.Node.StartProgram(node.Program{
			Name: "kube-scheduler", User: control.User,
			Args: append([]string{node.Binaries + "/kube/kube-scheduler", "--cert-dir", "/tmp/kube-scheduler"}, flags.SchedulerArgs()...),
		}),
	)
}
