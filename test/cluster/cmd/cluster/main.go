// SPDX-License-Identifier: Apache-2.0

// Command cluster keeps a seed and a shoot running on this machine for a person, or for
// tests that run more than once.
//
//	cluster up      start both, and print how to reach them
//	cluster down    remove both, also what a failed or interrupted start has left
//
// There is one pair of clusters for each copy of the repository. `cluster run FOLDER`
// owns it. This is a program in the background, with which the clusters end. It needs
// root and what `make cluster-binaries` builds.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/shoot-proxy/proxy-client/test/cluster"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labcmd"
)

// startLimit is far beyond what a start takes. It ends one that hangs.
const startLimit = 5 * time.Minute

func main() {
	os.Exit(labcmd.Main("cluster", func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdout) }))
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "up":
		dir, err := standingDir()
		if err != nil {
			return err
		}
		return up(ctx, dir, out)
	case len(args) == 1 && args[0] == "down":
		dir, err := standingDir()
		if err != nil {
			return err
		}
		return down(ctx, dir, out)
	case len(args) == 2 && args[0] == cluster.RunArgument:
		return own(ctx, args[1])
	}
	return fmt.Errorf("unknown arguments %q: want up or down", args)
}

// standingDir returns the folder of this repository's clusters.
func standingDir() (string, error) {
	root, err := lab.RepositoryRoot()
	if err != nil {
		return "", err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(root))
	return cluster.DirFor("up" + hex.EncodeToString(sum[:4])), nil
}
