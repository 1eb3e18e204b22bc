// SPDX-License-Identifier: Apache-2.0

// Command quickstart-images writes the konnectivity images that docs/quickstart.md needs.
// Package quickstart makes them.
//
//	quickstart-images --binaries test/bin --manifests docs/quickstart --out dist/quickstart
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/shoot-proxy/proxy-client/test/cluster/quickstart"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart-images:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("quickstart-images", flag.ContinueOnError)
	binaries := flags.String("binaries", "test/bin", "folder with the programs server and agent")
	manifests := flags.String("manifests", "docs/quickstart", "folder with the manifests")
	out := flags.String("out", "dist/quickstart", "folder for the archives")
	if err := flags.Parse(args); err != nil {
		return err
	}
	paths, err := quickstart.Archives(*binaries, *manifests, *out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s\n%s\n", paths.Server, paths.Agent)
	return err
}
