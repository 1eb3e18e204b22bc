// SPDX-License-Identifier: Apache-2.0

package gateways

import (
	"errors"
	"fmt"
	"testing"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	inspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"
)

// envoyRoutes reads a configuration of Envoy. It refuses fields that Envoy's API does not
// have, and values that its validation refuses.
func envoyRoutes(text string) (routes, error) {
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, err
	}
	var config bootstrap.Bootstrap
	if err := protojson.Unmarshal(asJSON, &config); err != nil {
		return nil, err
	}
	if err := config.ValidateAll(); err != nil {
		return nil, err
	}
	servers, err := clusterPorts(&config)
	if err != nil {
		return nil, err
	}
	all := routes{}
	for _, l := range config.GetStaticResources().GetListeners() {
		if err := readListener(all, l, servers); err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.GetName(), err)
		}
	}
	return all, nil
}

// clusterPorts returns the port of each cluster's only server.
func clusterPorts(config *bootstrap.Bootstrap) (map[string]uint32, error) {
	ports := map[string]uint32{}
	for _, c := range config.GetStaticResources().GetClusters() {
		found := 0
		for _, locality := range c.GetLoadAssignment().GetEndpoints() {
			for _, endpoint := range locality.GetLbEndpoints() {
				ports[c.GetName()] = endpoint.GetEndpoint().GetAddress().GetSocketAddress().GetPortValue()
				found++
			}
		}
		if found != 1 || c.GetLoadAssignment().GetClusterName() != c.GetName() {
			return nil, fmt.Errorf("cluster %s has %d servers under the name %s", c.GetName(), found, c.GetLoadAssignment().GetClusterName())
		}
	}
	return ports, nil
}

func readListener(all routes, l *listener.Listener, servers map[string]uint32) error {
	if len(l.GetListenerFilters()) != 1 {
		return errors.New("it does not have exactly one listener filter")
	}
	var inspects inspector.TlsInspector
	if err := l.GetListenerFilters()[0].GetTypedConfig().UnmarshalTo(&inspects); err != nil {
		return err
	}
	for _, chain := range l.GetFilterChains() {
		if len(chain.GetFilters()) != 1 {
			return errors.New("a filter chain does not have exactly one filter")
		}
		var proxy tcpproxy.TcpProxy
		if err := chain.GetFilters()[0].GetTypedConfig().UnmarshalTo(&proxy); err != nil {
			return err
		}
		if err := proxy.ValidateAll(); err != nil { // the validation above does not look into it
			return err
		}
		port, known := servers[proxy.GetCluster()]
		if !known {
			return fmt.Errorf("there is no cluster %q", proxy.GetCluster())
		}
		for _, name := range chain.GetFilterChainMatch().GetServerNames() {
			if err := all.add(entry{l.GetAddress().GetSocketAddress().GetPortValue(), name}, port); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestDocumentedEnvoyConfiguration: Envoy's API has every field of the documented
// configuration, and its own validation accepts it. It routes as HAProxy's does.
func TestDocumentedEnvoyConfiguration(t *testing.T) {
	text := block(t, "yaml", "# envoy.yaml")
	got, err := envoyRoutes(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tested(t, "alpha"), got); diff != "" {
		t.Errorf("Envoy's routes differ from HAProxy's (-HAProxy +Envoy):\n%s", diff)
	}
	wantNoticed(t, text, tested(t, "alpha"), envoyRoutes, [][2]string{
		{"server_names:", "server_name:"},
		{"tls_inspector.v3.TlsInspector", "tls_inspector.v3.Inspector"},
		{"port_value: 8091", "port_value: 80910"},
		{"port_value: 8091", "port_value: 8090"},
		{"cluster: alpha-agents", "cluster: alpha-agent"},
		{"stat_prefix: alpha-clients", "stat_prefix: ''"},
		{"idle_timeout: 86400s", "idle_timeout: 24h"},
		{"type: STRICT_DNS", "type: DNS"},
	})
}
