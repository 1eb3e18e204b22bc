// SPDX-License-Identifier: Apache-2.0

package egressselector

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server/egressselector"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// ourConfig is what proxy-client makes of a file.
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

// theirVerdict is what kube-apiserver says of a file at start.
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

// inFolderWithCertificates makes a folder the working directory that has the
// PEM files which the tests name. One certificate serves as CA and as client's.
func inFolderWithCertificates(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.crt":     {Type: "CERTIFICATE", Bytes: cert},
		"client.crt": {Type: "CERTIFICATE", Bytes: cert},
		"client.key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
