// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/webhook/internal/tlsobject"
	"github.com/shoot-proxy/proxy-client/webhook/internal/tlstrial"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// maxDials is how many proxy-servers are connected to at most.
const maxDials = 20

// checkServers connects to each proxy-server whose Service is well, from here.
func (in *inspection) checkServers(ctx context.Context) {
	results := make([]*Finding, len(in.servers))
	var tasks sync.WaitGroup
	for i, s := range in.servers {
		if s.broken || i >= maxDials {
			continue
		}
		tasks.Go(func() { results[i] = in.try(ctx, s) })
	}
	tasks.Wait()
	var found report.Merged
	for i, f := range results {
		if f != nil {
			found.Add(*f, in.servers[i].object())
		}
	}
	in.add(found.All...)
}

// where returns the address to connect to from here.
func (s *server) target() string {
	if s.service != nil && s.service.Spec.ClusterIP != "" && s.service.Spec.ClusterIP != corev1.ClusterIPNone {
		return net.JoinHostPort(s.service.Spec.ClusterIP, strconv.Itoa(s.port))
	}
	if s.service != nil && len(s.endpoints) > 0 {
		return net.JoinHostPort(s.endpoints[0].address.String(), strconv.Itoa(s.endpoints[0].port))
	}
	return s.address
}

// try connects to a server, and says whether the server and the pods' TLS files fit each
// other.
func (in *inspection) try(ctx context.Context, s *server) *Finding {
	f := &Finding{Check: "proxy-server", Group: GroupServers, Status: OK}
	about := ""
	if s.service != nil {
		about = fmt.Sprintf("Service %s/%s has %d ready %s. ", s.service.Namespace, s.service.Name, len(s.endpoints), report.Plural(len(s.endpoints), "endpoint"))
	}
	config := tlsobject.ClientConfig(s.ca, s.client, s.tlsName)
	if config == nil {
		f.Message = about + "It was not connected to, because its TLS files could not be used (see the Secrets)."
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	target := s.target()
	conn, err := in.Dial(ctx, "tcp", target)
	if err != nil {
		f.Message = about + "It cannot be reached from here, which says nothing about pods: `proxy-client check` in a pod does."
		return f
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client := tls.Client(conn, config)
	problem, remedy := tlstrial.Handshake(ctx, client, tlstrial.Names{CA: s.ca.String(), Client: s.client.String(), Server: s.tlsName}, in.now)
	if problem != "" {
		f.Status, f.Message, f.Next = Failure, problem+" Needed by "+report.NeededBy(s.names())+".", remedy
		return f
	}
	leaf := client.ConnectionState().PeerCertificates[0]
	f.Message = fmt.Sprintf("%sConnected to from here: its certificate fits %s and is valid until %s, and it accepts the client certificate.", about, s.ca.String(), report.Day(leaf.NotAfter))
	if tlsfiles.Due(leaf, in.now) {
		f.Status, f.Next = Warning, "renew the proxy-server's certificate"
		f.Message = fmt.Sprintf("%sIts certificate %q expires in %s, on %s.", about, leaf.Subject, report.Days(leaf.NotAfter.Sub(in.now)), report.Day(leaf.NotAfter))
	}
	return f
}
