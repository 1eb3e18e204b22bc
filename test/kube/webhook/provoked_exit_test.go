// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/x509"
	"testing"
	"time"
)

// exitProvocations are failures of the TLS files that pods need for an exit.
func exitProvocations() []provocation {
	with := func(ca func(*inspected) []byte, template x509.Certificate) func(*inspected, *testing.T) func() {
		return func(in *inspected, t *testing.T) func() {
			in.putSecret(t, monitored, "exit-ca", map[string][]byte{"ca.crt": ca(in)})
			in.putSecret(t, monitored, "exit-client-tls", in.pairData(t, in.newClient(t, template)))
			return in.exit(t)
		}
	}
	serverCA := func(in *inspected) []byte { return in.serverCA.CertPEM() }
	return []provocation{
		{"an exit", with(serverCA, x509.Certificate{}), nil, 0},
		{
			"TLS files of an exit cannot be used",
			with(func(*inspected) []byte { return []byte("ca") }, x509.Certificate{NotAfter: time.Now().Add(-time.Minute)}),
			[]string{"failure ca", "failure client-certificate"},
			1,
		},
	}
}
