// SPDX-License-Identifier: Apache-2.0

// Package shoot runs a second cluster of one node on this machine, the shoot. Its control
// plane is made of pods of the seed.
//
//	s, err := shoot.Start(ctx, seed, shoot.Config{Parent: folder, Binaries: "test/bin", …})
//	defer s.Close()
//
// Its node is behind a gateway that lets no connection of the seed in. kube-apiserver
// therefore reaches kubelets and pods only through the konnectivity proxy-server. So does
// any other client in the seed.
package shoot

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/test/cluster/control"
	"github.com/shoot-proxy/proxy-client/test/cluster/dns"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/node"
	"github.com/shoot-proxy/proxy-client/test/cluster/seed"
)

// Config describes the shoot to start.
type Config struct {
	// Parent, Cgroup, Binaries, Sandbox and FailureLogs are those of [node.Config].
	Parent, Cgroup, Binaries, Sandbox, FailureLogs string
	// Archives are the images of the shoot's node.
	Archives []string
}

// Shoot is a cluster that runs.
type Shoot struct {
	Node         *node.Node
	Credentials  *control.Credentials
	Konnectivity *Konnectivity

	config Config
	seed   *seed.Seed
}

// StartNode starts the machine on which the shoot's pods will run, with its images. It
// needs no seed yet. If it fails, nothing is left behind.
func StartNode(ctx context.Context, config Config) (*Shoot, error) {
	n, err := node.Start(ctx, node.Config{
		Name: "shoot", Parent: config.Parent, Cgroup: config.Cgroup, Binaries: config.Binaries, Sandbox: config.Sandbox,
		Address: Address, Pods: Pods, Services: Services, FailureLogs: config.FailureLogs,
	})
	if err != nil {
		return nil, err
	}
	s := &Shoot{Node: n, config: config}
	if err := s.prepare(ctx, config); err != nil {
		return nil, n.Abandon(fmt.Errorf("prepare the shoot: %w", err))
	}
	return s, nil
}

func (s *Shoot) prepare(ctx context.Context, config Config) error {
	for _, archive := range config.Archives {
		if err := s.Node.Import(ctx, archive); err != nil {
			return err
		}
	}
	credentials := filepath.Join(config.Parent, "shoot-credentials")
	if err := os.Mkdir(credentials, 0o700); err != nil {
		return err
	}
	var err error
	s.Credentials, err = control.NewCredentials(credentials,
		[]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), LoadBalancer, kubernetes},
		[]string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			"kube-apiserver", "kube-apiserver." + Namespace, "kube-apiserver." + Namespace + ".svc", "kube-apiserver." + Namespace + ".svc.cluster.local",
		})
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(credentials, control.KubeconfigFile)
	if err := node.WriteKubeconfig(kubeconfig, "https://kube-apiserver", s.Credentials.CA.File, s.Credentials.Token); err != nil {
		return err
	}
	s.Konnectivity, err = newKonnectivity(filepath.Join(config.Parent, "konnectivity"))
	return err
}

// Close removes the shoot's node. Its control plane is removed with the seed.
func (s *Shoot) Close() error { return s.Node.Close() }

// Admin returns access with all rights and without a client-side rate limit. Its
// connections come from the shoot's node, as those of the kubelet do.
func (s *Shoot) Admin() *rest.Config {
	return s.Credentials.Admin(s.url(), s.Node.DialContext)
}

// Server returns kube-apiserver's address in the node's network.
func (s *Shoot) Server() netip.AddrPort { return netip.AddrPortFrom(LoadBalancer, 443) }

func (s *Shoot) url() string { return "https://" + s.Server().String() }

// Start starts the control plane in the seed and connects the node. It returns once the
// shoot's pods run and its kube-apiserver reaches them.
func (s *Shoot) Start(ctx context.Context, in *seed.Seed) error {
	s.seed = in
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("start the shoot: %w", err)
	}
	return nil
}

func (s *Shoot) start(ctx context.Context) error {
	err := node.Connect(ctx,
		node.Link{Node: s.seed.Node, Interface: "shoot0", Address: wireSeed},
		node.Link{Node: s.Node, Interface: "seed0", Address: wireShoot})
	if err != nil {
		return err
	}
	if err := s.Node.HideBehind(ctx, "seed0"); err != nil {
		return err
	}
	if err := s.startControlPlane(ctx); err != nil {
		return err
	}
	if err := control.AllowKubeletClient(ctx, s.Admin()); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startKubelet(ctx) })
	group.Go(func() error { return dns.Deploy(ctx, s.Admin(), image.Reference(image.CoreDNS), DNS) })
	group.Go(func() error { return s.deploy(ctx) })
	return group.Wait()
}

func (s *Shoot) startKubelet(ctx context.Context) error {
	cert, key, err := s.Credentials.CA.Issue("node", []netip.Addr{Address}, []string{s.Node.Name})
	if err != nil {
		return err
	}
	return s.Node.StartKubelet(ctx, node.Access{
		Server: s.url(), CA: s.Credentials.CA.File, Token: s.Credentials.Token, Cert: cert, Key: key, DNS: DNS,
	})
}
