// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"os"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// TestTheDocumentShowsTheTestedConfigurations: docs/balancers.md shows the configurations
// that the tests use, and no others.
func TestTheDocumentShowsTheTestedConfigurations(t *testing.T) {
	document, err := os.ReadFile("../../docs/balancers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range lab.BalancerKinds() {
		streams := 100
		if kind == lab.NginxGRPC {
			streams = 4096
		}
		text, err := kind.Configuration(lab.BalancerSettings{
			Listen: "192.0.2.2:8090", Server: "192.0.2.3:8090", ServerName: "proxy-server.example", CA: "/certs/ca.crt",
			Certificate: "/certs/balancer.pem", Key: "/certs/balancer.pem",
			ClientCertificate: "/certs/client.pem", ClientKey: "/certs/client.pem",
			Protocol: "http/1.1", MaxStreams: streams,
		})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(document), "\n"+text+"```\n") {
			t.Errorf("docs/balancers.md does not show %s as it is tested:\n%s", kind, text)
		}
	}
	if shown := strings.Count(string(document), "\n## "); shown != len(lab.BalancerKinds()) {
		t.Errorf("docs/balancers.md shows %d configurations, and %d are tested", shown, len(lab.BalancerKinds()))
	}
}

// TestTheDocumentShowsTheTestedSharedConfiguration: docs/shared-balancer.md shows the
// configuration of [lab.SharedBalancer], for two shoots.
func TestTheDocumentShowsTheTestedSharedConfiguration(t *testing.T) {
	document, err := os.ReadFile("../../docs/shared-balancer.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := lab.SharedSettings{Clients: "192.0.2.10:8090", Agents: "192.0.2.10:8091", Shoots: []lab.SharedShoot{
		{ID: "alpha", Name: "alpha.shoots.example", Clients: "192.0.2.11:8090", Agents: "192.0.2.11:8091"},
		{ID: "beta", Name: "beta.shoots.example", Clients: "192.0.2.12:8090", Agents: "192.0.2.12:8091"},
	}}.Configuration()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(document), "\n```text\n"+text+"```\n") {
		t.Errorf("docs/shared-balancer.md does not show the configuration as it is tested:\n%s", text)
	}
}
