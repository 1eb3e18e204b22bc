// SPDX-License-Identifier: Apache-2.0

// Command quickstart-images makes images of upstream's proxy-server and agent, as OCI
// archives, under the names that the manifests of docs/quickstart.md have for them.
//
//	quickstart-images --binaries test/bin --manifests docs/quickstart --out dist/quickstart
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart-images:", err)
		os.Exit(1)
	}
}

// manifests has the image of a program by the name of its manifest.
func manifests() map[string]string {
	return map[string]string{"proxy-server": image.Server, "proxy-agent": image.Agent}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("quickstart-images", flag.ContinueOnError)
	binaries := flags.String("binaries", "test/bin", "folder with the programs server and agent")
	folder := flags.String("manifests", "docs/quickstart", "folder with the manifests")
	out := flags.String("out", "dist/quickstart", "folder for the archives")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return fmt.Errorf("make images: %w", err)
	}
	for name, program := range manifests() {
		i, err := image.New(program, *binaries)
		if err != nil {
			return err
		}
		if i.Reference, err = imageOf(filepath.Join(*folder, name+".yaml")); err != nil {
			return err
		}
		archive := filepath.Join(*out, name+".tar")
		if err := i.Write(archive); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: %s\n", archive, i.Reference)
	}
	return nil
}

// imageLine is the one of a manifest that names its container's image.
var imageLine = regexp.MustCompile(`(?m)^ *image: (\S+)$`)

// imageOf returns the name of the only image in a manifest.
func imageOf(path string) (string, error) {
	manifest, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("find an image's name: %w", err)
	}
	found := imageLine.FindAllSubmatch(manifest, -1)
	if len(found) != 1 {
		return "", errors.New(path + " has to name one image")
	}
	return string(found[0][1]), nil
}
