// SPDX-License-Identifier: Apache-2.0

package egressselector

import (
	"crypto/x509"
	"os"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server/egressselector"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

// ourConfig returns the configuration that proxy-client reads from a file.
func ourConfig(t *testing.T, text string) (*options.ProxyClientConfig, error) {
	t.Helper()
	o := options.NewProxyClient()
	flags := pflag.NewFlagSet("proxy-client", pflag.ContinueOnError)
	o.AddFlags(flags)
	if err := flags.Parse([]string{"--shoot-pod-cidr=100.64.0.0/12", "--egress-selector-config-file=" + write(t, text)}); err != nil {
		t.Fatalf("parse the flags: %v", err)
	}
	return o.Config()
}

// theirVerdict returns kube-apiserver's error about a file at its start.
func theirVerdict(t *testing.T, text string) error {
	t.Helper()
	config, err := egressselector.ReadEgressSelectorConfiguration(write(t, text))
	if err != nil {
		return err
	}
	return egressselector.ValidateEgressSelectorConfiguration(config).ToAggregate()
}

// write writes a file into the working folder and returns its name.
func write(t *testing.T, text string) string {
	t.Helper()
	const name = "egress.yaml"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// inFolderWithCertificates changes the working directory to a folder with the PEM files
// that the tests name. One certificate serves as the CA and as the client's.
func inFolderWithCertificates(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	pair := certtest.SelfSigned(t, x509.Certificate{IsCA: true, BasicConstraintsValid: true})
	for name, block := range map[string][]byte{"ca.crt": pair.CertPEM(), "client.crt": pair.CertPEM(), "client.key": pair.KeyPEM(t)} {
		if err := os.WriteFile(name, block, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
