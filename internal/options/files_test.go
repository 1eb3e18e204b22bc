// SPDX-License-Identifier: Apache-2.0

package options

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/regularfile"
)

// inFolderWithFiles changes to a folder with every file that the tests name. The paths are
// relative, so the golden sentences are the same on every machine.
func inFolderWithFiles(t testing.TB) {
	t.Helper()
	changeFolder(t, t.TempDir())
	ca := newPair(t, "ca", year(2000), year(2100))
	good := newPair(t, "client", year(2000), year(2100), x509.ExtKeyUsageClientAuth)
	old := newPair(t, "old", year(2000), year(2020))
	for name, data := range map[string][]byte{
		"ca.crt":         ca.cert,
		"old-ca.crt":     old.cert,
		"rotation.crt":   append(append([]byte{}, old.cert...), ca.cert...),
		"client.crt":     good.cert,
		"client.key":     good.key,
		"any.crt":        newPair(t, "any", year(2000), year(2100)).cert,
		"other.key":      newPair(t, "other", year(2000), year(2100)).key,
		"expired.crt":    old.cert,
		"expired.key":    old.key,
		"server.crt":     nil,
		"server.key":     nil,
		"future.crt":     nil,
		"future.key":     nil,
		"encrypted.key":  pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret")}),
		"old-cipher.key": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("secret")}),
		"broken.crt":     append(append([]byte{}, ca.cert...), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")})...),
		"broken.key":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("no")}),
		"empty":          {},
		"notes.txt":      []byte("not PEM\n"),
		"huge":           make([]byte, regularfile.MaxSize+1),
	} {
		writeFile(t, name, data)
	}
	server := newPair(t, "server", year(2000), year(2100), x509.ExtKeyUsageServerAuth)
	writeFile(t, "server.crt", server.cert)
	writeFile(t, "server.key", server.key)
	future := newPair(t, "future", year(2099), year(2100))
	writeFile(t, "future.crt", future.cert)
	writeFile(t, "future.key", future.key)
	if err := os.Mkdir("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range egressFiles() {
		writeFile(t, name, []byte(text))
	}
}

// changeFolder is t.Chdir, which testing.TB does not have.
func changeFolder(t testing.TB, to string) {
	t.Helper()
	from, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chdir(to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chdir(from); err != nil {
			t.Error(err)
		}
	})
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func year(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }

type pair struct{ cert, key []byte }

// newPair returns a self-signed certificate and its key as PEM.
func newPair(t testing.TB, name string, from, to time.Time, usage ...x509.ExtKeyUsage) pair {
	t.Helper()
	made := certtest.SelfSigned(t, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to, ExtKeyUsage: usage, IsCA: true, BasicConstraintsValid: true,
	})
	return pair{cert: made.CertPEM(), key: made.KeyPEM(t)}
}

// egressConfig returns a good file with a connection for the selection cluster.
func egressConfig(connection string) string {
	return `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: etcd
  connection: {proxyProtocol: Direct}
- name: cluster
  connection:
` + connection
}

func egressFiles() map[string]string {
	tls := `        tlsConfig: {caBundle: ca.crt, clientCert: client.crt, clientKey: client.key}
`
	tcp := func(protocol, url, tls string) string {
		return egressConfig("    proxyProtocol: " + protocol + "\n    transport:\n      tcp:\n        url: " + url + "\n" + tls)
	}
	uds := func(protocol, name string) string {
		return egressConfig("    proxyProtocol: " + protocol + "\n    transport:\n      uds: {udsName: " + name + "}\n")
	}
	return map[string]string{
		"connect-tcp.yaml":    tcp("HTTPConnect", "https://proxy-server:8131", tls),
		"connect-slash.yaml":  tcp("HTTPConnect", "https://proxy-server:8131/", tls),
		"grpc-uds.yaml":       uds("GRPC", "/run/server.sock"),
		"connect-uds.yaml":    uds("HTTPConnect", "/run/server.sock"),
		"connect-uds.json":    "{\n\t\"apiVersion\": \"apiserver.k8s.io/v1alpha1\",\n\t\"kind\": \"EgressSelectorConfiguration\",\n\t\"egressSelections\": [{\"name\": \"Cluster\", \"connection\": {\"proxyProtocol\": \"HTTPConnect\", \"transport\": {\"uds\": {\"udsName\": \"\\/run\\/server.sock\"}}}}]\n}\n",
		"grpc-tcp.yaml":       tcp("GRPC", "https://proxy-server:8131", tls),
		"direct.yaml":         egressConfig("    proxyProtocol: Direct\n"),
		"protocol.yaml":       uds("http-connect", "/run/server.sock"),
		"no-transport.yaml":   egressConfig("    proxyProtocol: GRPC\n"),
		"no-leg.yaml":         egressConfig("    proxyProtocol: GRPC\n    transport: {}\n"),
		"two-legs.yaml":       egressConfig("    proxyProtocol: HTTPConnect\n    transport: {uds: {udsName: /s}, tcp: {url: 'https://s:1'}}\n"),
		"relative-uds.yaml":   uds("GRPC", "run/server.sock"),
		"empty-uds.yaml":      uds("GRPC", "''"),
		"folder-uds.yaml":     uds("GRPC", "/run/"),
		"http.yaml":           tcp("HTTPConnect", "http://proxy-server:8131", ""),
		"no-scheme.yaml":      tcp("HTTPConnect", "proxy-server:8131", tls),
		"path.yaml":           tcp("HTTPConnect", "https://proxy-server:8131/tunnel", tls),
		"no-port.yaml":        tcp("HTTPConnect", "https://proxy-server", tls),
		"no-tls.yaml":         tcp("HTTPConnect", "https://proxy-server:8131", ""),
		"no-ca.yaml":          tcp("HTTPConnect", "https://proxy-server:8131", "        tlsConfig: {clientCert: client.crt, clientKey: client.key}\n"),
		"no-cert.yaml":        tcp("HTTPConnect", "https://proxy-server:8131", "        tlsConfig: {caBundle: ca.crt}\n"),
		"name.yaml":           tcp("HTTPConnect", "https://proxy-server:8131", "        tlsConfig: {caBundle: ca.crt, clientCert: client.crt, clientKey: client.key, tlsServerName: kp.seed}\n"),
		"bad-name.yaml":       tcp("HTTPConnect", "https://proxy-server:8131", "        tlsConfig: {caBundle: ca.crt, clientCert: client.crt, clientKey: client.key, tlsServerName: 'a b'}\n"),
		"no-key.yaml":         tcp("HTTPConnect", "https://proxy-server:8131", "        tlsConfig: {caBundle: ca.crt, clientCert: client.crt}\n"),
		"missing-ca.yaml":     tcp("HTTPConnect", "https://proxy-server:8131", "        tlsConfig: {caBundle: gone.crt, clientCert: client.crt, clientKey: client.key}\n"),
		"in-shoot.yaml":       tcp("HTTPConnect", "https://100.64.0.9:8131", tls),
		"no-cluster.yaml":     "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n- name: etcd\n  connection: {proxyProtocol: Direct}\n- name: controlplane\n  connection: {proxyProtocol: Direct}\n",
		"no-selection.yaml":   "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections: []\n",
		"twice.yaml":          egressConfig("    proxyProtocol: Direct\n") + "- name: CLUSTER\n  connection: {proxyProtocol: Direct}\n",
		"unknown-field.yaml":  egressConfig("    proxyProtocol: GRPC\n    transport:\n      uds: {udsName: /s, retries: 3}\n"),
		"unknown-field.json":  `{"apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration", "egressSelections": [], "extra": 1}`,
		"wrong-case.yaml":     "APIVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\n",
		"duplicate-key.yaml":  "apiVersion: apiserver.k8s.io/v1beta1\napiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\n",
		"wrong-type.yaml":     "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections: 7\n",
		"syntax.yaml":         "apiVersion: [\n",
		"version.yaml":        "apiVersion: apiserver.k8s.io/v1\nkind: EgressSelectorConfiguration\n",
		"group.yaml":          "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\n",
		"kind.yaml":           "apiVersion: apiserver.k8s.io/v1beta1\nkind: TracingConfiguration\n",
		"two-documents.yaml":  "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\n---\nkind: Other\n",
		"only-a-comment.yaml": "# nothing\n",
	}
}
