// SPDX-License-Identifier: Apache-2.0

// Manifests writes webhook.yaml and config.yaml of deploy. It makes them from the
// rendered chart that it reads:
//
//	helm template proxy-client CHART --namespace shoot-proxy --skip-tests | manifests FOLDER
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/shoot-proxy/proxy-client/test/helm/manifests"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: helm template … | manifests FOLDER")
		os.Exit(2)
	}
	if err := run(os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func run(rendered io.Reader, folder string) error {
	text, err := io.ReadAll(rendered)
	if err != nil {
		return fmt.Errorf("read the rendered chart: %w", err)
	}
	webhook, config, err := manifests.Split(string(text))
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"webhook.yaml": webhook, "config.yaml": config} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write a manifest: %w", err)
		}
	}
	return nil
}
