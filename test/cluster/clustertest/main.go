// SPDX-License-Identifier: Apache-2.0

// Package clustertest ties a seed and a shoot to Go tests. A package's tests share them,
// and each test has namespaces of its own. A failed test shows what happened in these.
//
//	func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		rig := clustertest.New(t)
//		namespace := rig.Seed.Namespace(t, "pod-security.kubernetes.io/enforce=privileged")
//		rig.ClientSecrets(t, namespace)
//		rig.Seed.Apply(t, namespace, documents)
//		pod := rig.Seed.AwaitPod(t, namespace, "app", clustertest.Ready)
//		out := rig.Seed.Exec(t, pod, "app", "wget", "-qO-", "http://"+address)
//	}
//
// If SEED_KUBECONFIG is set to the value that `make cluster-up` prints, the tests run in
// those clusters. The clusters stay afterwards, and keep only the images of the release
// under test.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/shoot-proxy/proxy-client/test/cluster"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// Environment variables. Main sets them for the tests of its package.
const (
	SeedKubeconfig  = "SEED_KUBECONFIG"
	ShootKubeconfig = "SHOOT_KUBECONFIG"
)

// startLimit is a guard against hanging. A start takes 20 s on two idle cores.
const startLimit = 5 * time.Minute

// Main starts both clusters, runs the package's tests, removes the clusters, and returns
// the exit code. If the machine cannot run clusters, the tests are skipped. If
// REQUIRE_ROOT=1 is set, they fail instead.
func Main(m *testing.M) int {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go logs each watch that a test ends
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case os.Getenv(SeedKubeconfig) != "":
		if err := importRelease(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case available() == nil:
		return runInOwnClusters(ctx, stop, m)
	}
	stop()
	return m.Run() // without clusters, New reports what is missing
}

// importRelease gives running clusters the images of the release under test, which may be
// younger than the clusters.
func importRelease(ctx context.Context) error {
	state, err := cluster.LoadState(os.Getenv(SeedKubeconfig))
	if err != nil {
		return err
	}
	images, err := cluster.ProductImages()
	if err != nil {
		return err
	}
	for _, archive := range images {
		if err := state.Seed.Import(ctx, archive); err != nil {
			return err
		}
	}
	return nil
}

// runInOwnClusters starts both clusters and calls stop once they run. They end with ctx.
func runInOwnClusters(ctx context.Context, stop context.CancelFunc, m *testing.M) int {
	c, err := start(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop() // from now on a signal ends the program, and the clusters with it
	code := m.Run()
	err = c.Close()
	if left := cluster.Leftovers(c.Dir); err != nil || len(left) != 0 {
		fmt.Fprintln(os.Stderr, "the clusters left something behind:", err, left)
		return 1
	}
	return code
}

func start(ctx context.Context) (*cluster.Clusters, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	options, err := cluster.OptionsFor(cluster.NewDir())
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	err = errors.Join(os.Setenv(SeedKubeconfig, c.SeedKubeconfig()), os.Setenv(ShootKubeconfig, c.ShootKubeconfig()))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func available() error {
	_, binaries, err := lab.FindBinaries()
	if err != nil {
		return err
	}
	return cluster.Available(binaries)
}

// require skips a test visibly if it cannot run. With REQUIRE_ROOT=1 in the environment,
// as in CI, it fails the test instead.
func require(t testing.TB) {
	t.Helper()
	if os.Getenv(SeedKubeconfig) != "" {
		return
	}
	err := available()
	if err == nil {
		err = errors.New("TestMain does not call clustertest.Main")
	}
	labtest.Require(t, err)
}
