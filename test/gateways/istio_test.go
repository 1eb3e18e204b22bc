// SPDX-License-Identifier: Apache-2.0

package gateways

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// mesh is what the resources of a document say together.
type mesh struct {
	gateways map[string]*networking.Gateway // by namespace/name
	services []*networking.VirtualService
	rules    map[string]*networking.DestinationRule // by host
}

// readIstio reads resources. It refuses fields that Istio's API does not have.
func readIstio(text string) (*mesh, error) {
	m := &mesh{gateways: map[string]*networking.Gateway{}, rules: map[string]*networking.DestinationRule{}}
	for one := range strings.SplitSeq(text, "\n---\n") {
		var resource struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct {
				Name      string `json:"name"`
				Namespace string `json:"namespace"`
			} `json:"metadata"`
			Spec json.RawMessage `json:"spec"`
		}
		if err := yaml.UnmarshalStrict([]byte(one), &resource); err != nil {
			return nil, err
		}
		if resource.APIVersion != "networking.istio.io/v1" {
			return nil, fmt.Errorf("%s has apiVersion %q", resource.Kind, resource.APIVersion)
		}
		var spec proto.Message
		switch resource.Kind {
		case "Gateway":
			g := &networking.Gateway{}
			spec, m.gateways[resource.Metadata.Namespace+"/"+resource.Metadata.Name] = g, g
		case "VirtualService":
			s := &networking.VirtualService{}
			spec, m.services = s, append(m.services, s)
		case "DestinationRule":
			spec = &networking.DestinationRule{}
		default:
			return nil, fmt.Errorf("kind %q is none that the document needs", resource.Kind)
		}
		if err := protojson.Unmarshal(resource.Spec, spec); err != nil {
			return nil, fmt.Errorf("%s %s: %w", resource.Kind, resource.Metadata.Name, err)
		}
		if rule, ok := spec.(*networking.DestinationRule); ok {
			m.rules[rule.GetHost()] = rule
		}
	}
	return m, nil
}

// routes follows each name from the gateway's ports to the servers.
func (m *mesh) routes() (routes, error) {
	all := routes{}
	for _, service := range m.services {
		for _, name := range service.GetGateways() {
			gateway := m.gateways[name]
			if gateway == nil {
				return nil, fmt.Errorf("there is no gateway %s", name)
			}
			for _, route := range service.GetTls() {
				if err := m.follow(all, gateway, route, service.GetHosts()); err != nil {
					return nil, err
				}
			}
		}
	}
	return all, nil
}

func (m *mesh) follow(all routes, gateway *networking.Gateway, route *networking.TLSRoute, hosts []string) error {
	if len(route.GetRoute()) != 1 {
		return fmt.Errorf("a route leads to %d destinations", len(route.GetRoute()))
	}
	to := route.GetRoute()[0].GetDestination()
	rule := m.rules[to.GetHost()]
	if rule == nil || rule.GetTrafficPolicy().GetTls().GetMode() != networking.ClientTLSSettings_DISABLE {
		return fmt.Errorf("no rule says that connections to %s have their TLS already", to.GetHost())
	}
	for _, match := range route.GetMatch() {
		for _, name := range match.GetSniHosts() {
			if !slices.Contains(hosts, name) || !passes(gateway, match.GetPort(), name) {
				return fmt.Errorf("the gateway does not pass %s on at port %d", name, match.GetPort())
			}
			if err := all.add(entry{match.GetPort(), name}, to.GetPort().GetNumber()); err != nil {
				return err
			}
		}
	}
	return nil
}

// passes reports whether a gateway passes TLS on for a name at one of its ports.
func passes(gateway *networking.Gateway, port uint32, name string) bool {
	_, domain, _ := strings.Cut(name, ".")
	return slices.ContainsFunc(gateway.GetServers(), func(s *networking.Server) bool {
		return s.GetPort().GetNumber() == port && s.GetPort().GetProtocol() == "TLS" &&
			s.GetTls().GetMode() == networking.ServerTLSSettings_PASSTHROUGH && slices.Contains(s.GetHosts(), "*."+domain)
	})
}

func istioRoutes(text string) (routes, error) {
	m, err := readIstio(text)
	if err != nil {
		return nil, err
	}
	return m.routes()
}

// TestDocumentedIstioResources: Istio's API has every field of the documented resources.
// They route as HAProxy's configuration does.
func TestDocumentedIstioResources(t *testing.T) {
	text := block(t, "yaml", "# istio.yaml")
	got, err := istioRoutes(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tested(t, "alpha"), got); diff != "" {
		t.Errorf("Istio's routes differ from HAProxy's (-HAProxy +Istio):\n%s", diff)
	}
	wantNoticed(t, text, tested(t, "alpha"), istioRoutes, [][2]string{
		{"sniHosts:", "sniHost:"},
		{"mode: PASSTHROUGH", "mode: SIMPLE"},
		{"mode: PASSTHROUGH", "mode: PASS"},
		{"mode: DISABLE", "mode: SIMPLE"},
		{"[{port: 8091,", "[{port: 8090,"},
		{"svc.cluster.local, port: {number: 8091}", "svc.cluster.local, port: {number: 8090}"},
		{"idleTimeout: 86400s", "idleTimeout: forever"},
		{"gateways: [istio-ingress/shoots]", "gateways: [shoots]"},
	})
}

// wantNoticed changes the text in one place at a time. Each of these mistakes must be
// refused, or change the routes.
func wantNoticed(t *testing.T, text string, right routes, read func(string) (routes, error), mistakes [][2]string) {
	t.Helper()
	for _, mistake := range mistakes {
		wrong := strings.Replace(text, mistake[0], mistake[1], 1)
		if wrong == text {
			t.Errorf("the document has no %q", mistake[0])
			continue
		}
		if got, err := read(wrong); err == nil && cmp.Equal(right, got) {
			t.Errorf("%q instead of %q is not noticed", mistake[1], mistake[0])
		}
	}
}
