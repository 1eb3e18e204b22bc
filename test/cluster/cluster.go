// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/node"
	"github.com/shoot-proxy/proxy-client/test/cluster/remover"
	"github.com/shoot-proxy/proxy-client/test/cluster/seed"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// prefix begins the names of all folders and cgroup folders that clusters make.
const prefix = "shootcluster-"

// Options describe the clusters to start.
type Options struct {
	// Binaries is the repository's folder test/bin, filled by `make cluster-binaries`.
	Binaries string
	// Images are the paths of OCI archives that the seed's node gets in addition to its
	// own. Those of `make images` are an example.
	Images []string
	// Dir is a folder that only these clusters use: NewDir names one. It is removed with
	// them.
	Dir string
	// FailureLogs is a folder that gets all logs of a start that fails. If it is empty, the
	// error has the last lines of them.
	FailureLogs string
}

// NewDir returns the path of a folder that does not exist yet, for [Options].
func NewDir() string { return DirFor(strings.ToLower(rand.Text()[:8])) }

// DirFor returns the folder of a name. A name stands for one pair of clusters on this
// machine.
func DirFor(name string) string {
	return filepath.Join("/tmp", prefix+name) // not $TMPDIR: pods' users must be able to read there
}

// OptionsFor returns Options with the binaries and the [ProductImages] of this machine.
func OptionsFor(dir string) (Options, error) {
	_, binaries, err := lab.FindBinaries()
	if err != nil {
		return Options{}, err
	}
	images, err := ProductImages()
	return Options{Binaries: binaries, Images: images, Dir: dir}, err
}

// ProductImages returns the archives of a release's images, or those of `make images`, if
// there are any.
func ProductImages() ([]string, error) {
	release, err := lab.ReleaseFolder()
	if err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(release, "images", "*.tar"))
}

// Clusters are a seed and a shoot that run.
type Clusters struct {
	Seed  *seed.Seed
	Shoot *shoot.Shoot
	// Dir has the kubeconfig files and the logs.
	Dir string

	remover    *remover.Remover
	forwarders []*Forwarder
}

// Start starts both clusters. It returns once all pods of both are ready and the shoot's
// kube-apiserver reaches its node. If it fails, nothing is left behind but
// [Options.FailureLogs]. The error begins with the step that failed.
func Start(ctx context.Context, options Options) (*Clusters, error) {
	c := &Clusters{Dir: options.Dir}
	if !strings.HasPrefix(filepath.Base(c.Dir), prefix) {
		return nil, fmt.Errorf("start two clusters in %q: the folder's name has to begin with %s", c.Dir, prefix)
	}
	if err := enoughInotifyInstances(); err != nil {
		return nil, err
	}
	var err error
	if c.remover, err = remover.Start(); err != nil {
		return nil, err
	}
	if err := c.start(ctx, options); err != nil {
		return nil, errors.Join(c.withLogs(err), c.Close())
	}
	return c, nil
}

// withLogs adds the logs of the nodes that have started.
func (c *Clusters) withLogs(err error) error {
	if c.Seed != nil {
		err = c.Seed.Node.WithLogs(err)
	}
	if c.Shoot != nil {
		err = c.Shoot.Node.WithLogs(err)
	}
	return err
}

func (c *Clusters) start(ctx context.Context, options Options) error {
	if err := c.remover.Folder(c.Dir); err != nil {
		return err
	}
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the clusters: %w", err)
	}
	seedArchives, err := image.Archives(ctx, options.Binaries, seedImages()...)
	if err != nil {
		return fmt.Errorf("make the images of the seed: %w", err)
	}
	shootArchives, err := image.Archives(ctx, options.Binaries, shoot.NodeImages()...)
	if err != nil {
		return fmt.Errorf("make the images of the shoot: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		c.Seed, err = seed.Start(groupCtx, seed.Config{
			Parent: c.Dir, Cgroup: cgroupName(c.Dir, "seed"), Binaries: options.Binaries, Sandbox: image.Reference(image.Sandbox),
			FailureLogs: options.FailureLogs, Archives: append(seedArchives, options.Images...),
		})
		return err
	})
	group.Go(func() (err error) {
		c.Shoot, err = shoot.StartNode(groupCtx, shoot.Config{
			Parent: c.Dir, Cgroup: cgroupName(c.Dir, "shoot"), Binaries: options.Binaries, Sandbox: image.Reference(image.Sandbox),
			FailureLogs: options.FailureLogs, Archives: shootArchives,
		})
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := c.Shoot.Start(ctx, c.Seed); err != nil {
		return errors.Join(err, c.describeControlPlane(ctx))
	}
	if err := c.waitForPods(ctx); err != nil {
		return fmt.Errorf("wait for both clusters: %w", err)
	}
	if err := errors.Join(c.writeKubeconfigs(), c.writeState(options.Binaries)); err != nil {
		return fmt.Errorf("write down how to come to the clusters: %w", err)
	}
	return nil
}

// describeControlPlane returns an error that describes the shoot's pods in the seed.
func (c *Clusters) describeControlPlane(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.Seed.Admin())
	if err != nil {
		return err
	}
	return errors.New(Describe(context.WithoutCancel(ctx), client, shoot.Namespace))
}

// seedImages returns the images of the seed's pods, including those for tests.
func seedImages() []string {
	return append(shoot.SeedImages(), image.Sandbox, image.CoreDNS, image.Prometheus, image.Busybox, image.Curl)
}

// writeKubeconfigs writes the two files with which programs outside reach the clusters.
func (c *Clusters) writeKubeconfigs() error {
	seedForwarder, err := Forward(&c.Seed.Node.Handle, c.Seed.Server())
	if err != nil {
		return err
	}
	c.forwarders = append(c.forwarders, seedForwarder)
	shootForwarder, err := Forward(&c.Shoot.Node.Handle, c.Shoot.Server())
	if err != nil {
		return err
	}
	c.forwarders = append(c.forwarders, shootForwarder)
	return errors.Join(
		node.WriteKubeconfig(c.SeedKubeconfig(), "https://"+seedForwarder.Address(), c.Seed.Credentials.CA.File, c.Seed.Credentials.Token),
		node.WriteKubeconfig(c.ShootKubeconfig(), "https://"+shootForwarder.Address(), c.Shoot.Credentials.CA.File, c.Shoot.Credentials.Token),
	)
}

// SeedKubeconfig returns the path of a file that gives programs of this machine all
// rights in the seed.
func (c *Clusters) SeedKubeconfig() string { return filepath.Join(c.Dir, "seed.kubeconfig") }

// ShootKubeconfig returns the same for the shoot.
func (c *Clusters) ShootKubeconfig() string { return filepath.Join(c.Dir, "shoot.kubeconfig") }

// Close removes both clusters. The error says what is left.
func (c *Clusters) Close() error {
	var errs []error
	for _, f := range c.forwarders {
		errs = append(errs, f.Close())
	}
	if c.Shoot != nil {
		errs = append(errs, c.Shoot.Close())
	}
	if c.Seed != nil {
		errs = append(errs, c.Seed.Close())
	}
	return errors.Join(append(errs, c.remover.Remove())...)
}
