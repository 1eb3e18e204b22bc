// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	server "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/shoot-proxy/proxy-client/test/markdown"
)

// checkPublishing runs the commands of docs/release.md against a registry of its own, on
// loopback. It expects the digests that the chart names to be there.
func checkPublishing(t *testing.T, r tree, images map[string]image) {
	served := httptest.NewTLSServer(server.New(server.Logger(log.New(io.Discard, "", 0))))
	defer served.Close()
	host := strings.TrimPrefix(served.URL, "https://")
	home := t.TempDir()
	certificate := filepath.Join(home, "registry.crt")
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: served.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}

	document, err := markdown.Read(root + "/docs/release.md")
	if err != nil {
		t.Fatal(err)
	}
	runner, err := markdown.NewRunner(r.dist(), []string{
		"HOME=" + home, "SSL_CERT_FILE=" + certificate, "VERSION=" + version, "REGISTRY=" + host,
		"PATH=" + filepath.Join(string(r), "test/bin/tools-kube") + ":" + os.Getenv("PATH"),
	}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := runner.Close(); err != nil {
			t.Error(err)
		}
	}()
	// A command whose output differs is run again until then.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, section := range []string{"Publishing", "Verifying"} {
		steps, err := document.Section(section)
		if err != nil {
			t.Fatal(err)
		}
		if err := runner.Run(ctx, steps); err != nil {
			t.Fatalf("docs/release.md, %s: %v", section, err)
		}
	}

	for program, image := range images {
		for _, reference := range []string{":" + version, "@" + image.digest.String()} {
			published, err := name.ParseReference(host + "/shoot-proxy/" + program + reference)
			if err != nil {
				t.Fatal(err)
			}
			descriptor, err := remote.Get(published, remote.WithTransport(served.Client().Transport))
			if err != nil {
				t.Errorf("image %s is not where it was published: %v", published, err)
				continue
			}
			if descriptor.Digest != image.digest {
				t.Errorf("image %s was published as %s, and the chart names %s", program, descriptor.Digest, image.digest)
			}
		}
	}
}
