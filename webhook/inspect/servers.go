// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/internal/tlsobject"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// server is a proxy-server as pods of one namespace know it.
type server struct {
	address, host string
	port          int
	namespace     string // of the pods
	// tlsName is the name that the certificate must have.
	tlsName string
	ca      *tlsobject.Object
	client  *tlsobject.Object
	pods    []*subject
	// service is the Service of that name, if it is one, and endpoints are those that are
	// ready.
	service   *corev1.Service
	endpoints []endpoint
	// broken is set if the Service is the cause of failure.
	broken bool
}

// endpoint is an address behind a Service.
type endpoint struct {
	address   netip.Addr
	port      int
	namespace string
	pod       string // empty if it is no pod
}

// names returns the names of the subjects.
func (s *server) names() []string {
	var all []string
	for _, p := range s.pods {
		all = append(all, p.name)
	}
	return all
}

func (s *server) object() string { return "proxy-server " + s.address }

// findServers finds the proxy-servers of all pods.
func (in *inspection) findServers(ctx context.Context) {
	for c := range in.sidecars() {
		for _, address := range c.values("--proxy-server") {
			in.addServer(c.subject, c.pod, address, strings.Join(c.flags["--server-name"], ""))
		}
	}
	for _, s := range in.servers {
		in.resolve(ctx, s)
	}
}

func (in *inspection) addServer(s *subject, p *corev1.Pod, address, tlsName string) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return // a socket's path, or nothing that proxy-client would take
	}
	port, _ := strconv.Atoi(portText) // 0 if it is no number, which proxy-client refuses
	if tlsName == "" {
		tlsName = host
	}
	new := &server{address: address, host: host, port: port, namespace: s.namespace, tlsName: tlsName}
	for _, v := range p.Spec.Volumes {
		switch v.Name {
		case volumeCA:
			new.ca = in.materialOf(s, v)
		case volumeClient:
			new.client = in.materialOf(s, v)
		}
	}
	i := slices.IndexFunc(in.servers, func(o *server) bool {
		return o.address == new.address && o.namespace == new.namespace && o.tlsName == new.tlsName && o.ca == new.ca && o.client == new.client
	})
	if i < 0 {
		in.servers = append(in.servers, new)
		i = len(in.servers) - 1
	}
	in.servers[i].pods = append(in.servers[i].pods, s)
}

// serviceOf returns the Service that a host's name may be, as a resolver of a pod reads
// it. certain is false if it may be another name too.
func (s *server) serviceOf() (namespace, name string, certain bool) {
	if _, err := netip.ParseAddr(s.host); err == nil {
		return "", "", false
	}
	labels := strings.Split(strings.TrimSuffix(s.host, "."), ".")
	switch {
	case len(labels) == 1:
		return s.namespace, labels[0], !slices.ContainsFunc(s.pods, func(p *subject) bool { return ownNames(p.pod, s.host) })
	case len(labels) == 2:
		return labels[1], labels[0], false
	case labels[2] == "svc":
		return labels[1], labels[0], true
	default:
		return "", "", false
	}
}

// ownNames reports whether a pod may know a name from elsewhere than the cluster's DNS.
func ownNames(p *corev1.Pod, host string) bool {
	if p.Spec.DNSPolicy == corev1.DNSNone || p.Spec.DNSPolicy == corev1.DNSDefault || p.Spec.DNSConfig != nil && len(p.Spec.DNSConfig.Searches) > 0 {
		return true
	}
	return slices.ContainsFunc(p.Spec.HostAliases, func(a corev1.HostAlias) bool { return slices.Contains(a.Hostnames, host) })
}

// resolve finds the Service of a proxy-server, and looks at it.
func (in *inspection) resolve(ctx context.Context, s *server) {
	namespace, name, certain := s.serviceOf()
	if name == "" {
		return
	}
	f := Finding{Check: "proxy-server", Group: GroupServers, Status: Failure, Objects: []string{s.object()}}
	needed := fmt.Sprintf(" Needed by %s.", report.NeededBy(s.names()))
	service, err := in.clients.Core.Services(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case isMissing(err) && certain:
		s.broken = true
		f.Message = fmt.Sprintf("There is no Service %s in namespace %s, so the name does not resolve.%s", name, namespace, needed)
		f.Next, f.Commands = "correct proxyServer.addresses in the configuration, or create the Service", []string{fmt.Sprintf("kubectl --namespace %s get services", namespace)}
		in.add(f)
		return
	case isMissing(err):
		return
	case !in.denials.Note(reading.To("get", "services", namespace, "the proxy-server's Service"), err):
		return
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return
	}
	s.service = service
	port := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return int(p.Port) == s.port })
	if port < 0 {
		s.broken = true
		var ports []string
		for _, p := range service.Spec.Ports {
			ports = append(ports, strconv.Itoa(int(p.Port)))
		}
		f.Message = fmt.Sprintf("Service %s/%s has no port %d, but %s.%s", namespace, name, s.port, strings.Join(ports, ", "), needed)
		f.Next, f.Commands = "correct the port in proxyServer.addresses: it is the server's --server-port, for clients", []string{fmt.Sprintf("kubectl --namespace %s get service %s", namespace, name)}
		in.add(f)
		return
	}
	if !in.readEndpoints(ctx, s, service.Spec.Ports[port].Name) || len(s.endpoints) > 0 {
		return
	}
	s.broken = true
	f.Message = fmt.Sprintf("Service %s/%s has no ready endpoint: no proxy-server is ready.%s", namespace, name, needed)
	f.Next, f.Commands = "see why the proxy-server's pods are not ready, or whether the selector of the Service fits them", []string{fmt.Sprintf("kubectl --namespace %s get pods,endpointslices", namespace)}
	in.add(f)
}

// readEndpoints reads the ready endpoints of a server's Service.
func (in *inspection) readEndpoints(ctx context.Context, s *server, port string) bool {
	namespace := s.service.Namespace
	return reading.Pages(ctx, &in.denials, reading.To("list", "endpointslices.discovery.k8s.io", namespace, "the proxy-server's endpoints"),
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.service.Name}, in.clients.Discovery.EndpointSlices(namespace).List,
		func(page *discoveryv1.EndpointSliceList) {
			for _, slice := range page.Items {
				for _, e := range slice.Endpoints {
					if e.Conditions.Ready == nil || *e.Conditions.Ready {
						s.endpoints = append(s.endpoints, endpointsOf(slice, e, port)...)
					}
				}
			}
		})
}

// endpointsOf returns an endpoint's addresses at a port.
func endpointsOf(slice discoveryv1.EndpointSlice, e discoveryv1.Endpoint, port string) []endpoint {
	var all []endpoint
	for _, p := range slice.Ports {
		if p.Port == nil || p.Name != nil && *p.Name != port {
			continue
		}
		for _, text := range e.Addresses {
			address, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			new := endpoint{address: address, port: int(*p.Port), namespace: slice.Namespace}
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				new.pod = e.TargetRef.Name
			}
			all = append(all, new)
		}
	}
	return all
}
