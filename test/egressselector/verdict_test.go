// SPDX-License-Identifier: Apache-2.0

package egressselector

import (
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// verdict is the result of a file at kube-apiserver and at the product.
type verdict string

const (
	accepted verdict = "accepted by both"
	refused  verdict = "refused by both"
	stricter verdict = "accepted by kube-apiserver, refused by us"
	laxer    verdict = "refused by kube-apiserver, accepted by us"
)

// judged is one file. In its text, VERSION stands for the apiVersion.
type judged struct {
	name, text string
	want       verdict
	// says is a part of our sentence if we refuse. A file can be refused for the wrong
	// reason.
	says string
	// why is the reason to differ, if we do.
	why string
}

const (
	mutualTLS  = "{caBundle: ca.crt, clientCert: client.crt, clientKey: client.key}"
	serverURL  = "https://proxy-server:8131"
	grpcUDS    = "{proxyProtocol: GRPC, transport: {uds: {udsName: /run/server.sock}}}"
	connectUDS = "{proxyProtocol: HTTPConnect, transport: {uds: {udsName: /run/server.sock}}}"
	direct     = "{proxyProtocol: Direct}"
)

func selections(text string) string {
	return "apiVersion: VERSION\nkind: EgressSelectorConfiguration\negressSelections:\n" + text
}

func cluster(connection string) string {
	return selections("- {name: cluster, connection: " + connection + "}\n")
}

func tcp(protocol, url, tls string) string {
	if tls != "" {
		tls = ", tlsConfig: " + tls
	}
	return cluster("{proxyProtocol: " + protocol + ", transport: {tcp: {url: '" + url + "'" + tls + "}}}")
}

func TestAcceptedAndRefusedAsByKubernetes(t *testing.T) {
	inFolderWithCertificates(t)
	for _, v := range versions() {
		for _, list := range [][]judged{refusedByBoth(), differently(), acceptedByBoth()} {
			for _, c := range list {
				t.Run(c.name+" in "+v.name, func(t *testing.T) { judge(t, c, strings.ReplaceAll(c.text, "VERSION", v.name)) })
			}
		}
	}
}

func judge(t *testing.T, c judged, text string) {
	t.Helper()
	theirs := theirVerdict(t, text)
	_, ours := ourConfig(t, text)
	got := accepted
	switch {
	case theirs != nil && ours != nil:
		got = refused
	case ours != nil:
		got = stricter
	case theirs != nil:
		got = laxer
	}
	if got != c.want {
		t.Errorf("the file is %s, want %s\n%s", got, c.want, text)
	}
	if got == c.want && ours != nil && (!flagset.IsUsage(ours) || !strings.Contains(ours.Error(), c.says) || c.says == "") {
		t.Errorf("our sentence does not say %q: %v", c.says, ours)
	}
	if differs := c.want == stricter || c.want == laxer; differs != (c.why != "") {
		t.Errorf("whoever differs says why, and nobody else: %s, because %q", c.want, c.why)
	}
	t.Logf("kube-apiserver says: %v\nwe say: %v", theirs, ours)
}

func refusedByBoth() []judged {
	list := []judged{
		{name: "GRPC over TCP", text: tcp("GRPC", serverURL, mutualTLS), says: "GRPC over tcp"},
		{name: "HTTPConnect over TCP and UDS", text: cluster("{proxyProtocol: HTTPConnect, transport: {tcp: {url: '" + serverURL + "', tlsConfig: " + mutualTLS + "}, uds: {udsName: /s}}}"), says: "both tcp and uds"},
		{name: "GRPC without transport", text: cluster("{proxyProtocol: GRPC}"), says: "neither tcp nor uds"},
		{name: "HTTPConnect without transport", text: cluster("{proxyProtocol: HTTPConnect}"), says: "neither tcp nor uds"},
		{name: "an empty transport", text: cluster("{proxyProtocol: HTTPConnect, transport: {}}"), says: "neither tcp nor uds"},
		{name: "a socket without name", text: cluster("{proxyProtocol: GRPC, transport: {uds: {}}}"), says: "not an absolute path"},
		{name: "Direct with a transport", text: cluster("{proxyProtocol: Direct, transport: {uds: {udsName: /s}}}"), says: "proxyProtocol Direct"},
		{name: "a protocol in lower case", text: cluster("{proxyProtocol: grpc, transport: {uds: {udsName: /s}}}"), says: `proxyProtocol "grpc"`},
		{name: "no protocol", text: cluster("{transport: {uds: {udsName: /s}}}"), says: `proxyProtocol ""`},
		{name: "no connection", text: selections("- {name: cluster}\n"), says: `proxyProtocol ""`},

		{name: "https without tlsConfig", text: tcp("HTTPConnect", serverURL, ""), says: "needs a tlsConfig"},
		{name: "https without client certificate and key", text: tcp("HTTPConnect", serverURL, "{caBundle: ca.crt}"), says: "tlsConfig.clientCert"},
		{name: "https without client certificate", text: tcp("HTTPConnect", serverURL, "{caBundle: ca.crt, clientKey: client.key}"), says: "tlsConfig.clientCert"},
		{name: "https without client key", text: tcp("HTTPConnect", serverURL, "{caBundle: ca.crt, clientCert: client.crt}"), says: "tlsConfig.clientKey"},
		{name: "a CA that is not there", text: tcp("HTTPConnect", serverURL, "{caBundle: gone.crt, clientCert: client.crt, clientKey: client.key}"), says: `caBundle "gone.crt"`},
		{name: "a certificate that is not there", text: tcp("HTTPConnect", serverURL, "{caBundle: ca.crt, clientCert: gone.crt, clientKey: client.key}"), says: `clientCert "gone.crt"`},
		{name: "a key that is not there", text: tcp("HTTPConnect", serverURL, "{caBundle: ca.crt, clientCert: client.crt, clientKey: gone.key}"), says: `clientKey "gone.key"`},
		{name: "http with tlsConfig", text: tcp("HTTPConnect", "http://proxy-server:8131", mutualTLS), says: "plaintext"},
		{name: "a URL without scheme", text: tcp("HTTPConnect", "proxy-server:8131", mutualTLS), says: "not an https URL"},
		{name: "a URL of another scheme", text: tcp("HTTPConnect", "ftp://proxy-server:8131", mutualTLS), says: "not an https URL"},
		{name: "no URL", text: tcp("HTTPConnect", "", mutualTLS), says: "not an https URL"},

		{name: "cluster twice", text: selections("- {name: cluster, connection: " + grpcUDS + "}\n- {name: CLUSTER, connection: " + grpcUDS + "}\n"), says: "twice"},
		{name: "an unknown field", text: cluster(grpcUDS) + "retries: 3\n", says: "unknown field retries"},
		{name: "a field in lower case", text: strings.Replace(cluster(grpcUDS), "egressSelections", "egressselections", 1), says: "unknown field egressselections"},
		{name: "a field twice", text: cluster(grpcUDS) + "kind: EgressSelectorConfiguration\n", says: "already: remove one"},
		{name: "another type of value", text: selections("  cluster\n"), says: "write a list"},
		{name: "another version", text: strings.Replace(cluster(grpcUDS), "VERSION", "apiserver.k8s.io/v1", 1), says: "apiVersion"},
		{name: "another group", text: strings.Replace(cluster(grpcUDS), "VERSION", "apiserver.config.k8s.io/v1beta1", 1), says: "apiVersion"},
		{name: "another kind", text: strings.Replace(cluster(grpcUDS), "kind: EgressSelector", "kind: Tracing", 1), says: "kind"},
		{name: "an empty file", text: "", says: "is empty"},
		{name: "only a comment", text: "# nothing\n", says: "is empty"},
	}
	for i := range list {
		list[i].want = refused
	}
	return list
}

func differently() []judged {
	const notTunnelled = "kube-apiserver dials directly then; we have no proxy-server to tunnel through"
	const theirDial = "kube-apiserver would find out at each dial, we do at start"
	const ignored = "kube-apiserver ignores it; whoever wrote it meant something"
	const notOurs = "the selections of etcd and of the control plane are kube-apiserver's business"
	return []judged{
		{"Direct", cluster(direct), stricter, "proxyProtocol Direct", notTunnelled},
		{"no selection", selections("  []\n"), stricter, "no selection", notTunnelled},
		{"no selection cluster", selections("- {name: etcd, connection: " + direct + "}\n"), stricter, "no selection", notTunnelled},
		{
			"GRPC over UDS and TCP", cluster("{proxyProtocol: GRPC, transport: {tcp: {url: '" + serverURL + "'}, uds: {udsName: /s}}}"),
			stricter, "both tcp and uds", "kube-apiserver silently ignores tcp; its documentation allows one of them",
		},
		{"http", tcp("HTTPConnect", "http://proxy-server:8131", ""), stricter, "plaintext", "anybody on the way could read and use the tunnel"},
		{
			"https without CA", tcp("HTTPConnect", serverURL, "{clientCert: client.crt, clientKey: client.key}"),
			stricter, "tlsConfig.caBundle", "kube-apiserver takes the machine's CAs; a proxy-server's certificate comes from a CA of the control plane's own",
		},
		{"https without port", tcp("HTTPConnect", "https://proxy-server", mutualTLS), stricter, "no port", theirDial},
		{"https without host", tcp("HTTPConnect", "https://:8131", mutualTLS), stricter, "no host", theirDial},
		{"https with a path", tcp("HTTPConnect", serverURL+"/tunnel", mutualTLS), stricter, "more than a host and a port", ignored},
		{"https with a password", tcp("HTTPConnect", "https://me:secret@proxy-server:8131", mutualTLS), stricter, "more than a host and a port", ignored},
		{"https into the shoot", tcp("HTTPConnect", "https://100.64.0.9:8131", mutualTLS), stricter, "lead into itself", "kube-apiserver's own traffic is not redirected, a pod's with our sidecar is"},
		{
			"a CA without certificate", tcp("HTTPConnect", serverURL, "{caBundle: client.key, clientCert: client.crt, clientKey: client.key}"),
			stricter, "no certificate", "kube-apiserver's validation looks whether files are there; the next step of its start refuses as well",
		},
		{"a socket with a relative path", cluster("{proxyProtocol: GRPC, transport: {uds: {udsName: server.sock}}}"), stricter, "not an absolute path", "it depends on the folder in which a process happens to start"},
		{"a socket as URL", cluster("{proxyProtocol: GRPC, transport: {uds: {udsName: 'unix:///run/server.sock'}}}"), stricter, "not an absolute path", theirDial},
		{"a socket with a long path", cluster("{proxyProtocol: GRPC, transport: {uds: {udsName: /" + strings.Repeat("x", 107) + "}}}"), stricter, "at most 107", theirDial},
		{"two documents", cluster(grpcUDS) + "---\n" + cluster(connectUDS), stricter, "more than one document", "kube-apiserver silently ignores the second"},

		{"an unknown selection", selections("- {name: nodes, connection: " + direct + "}\n- {name: cluster, connection: " + grpcUDS + "}\n"), laxer, "", notOurs},
		{"another selection twice", selections("- {name: etcd, connection: " + direct + "}\n- {name: etcd, connection: " + direct + "}\n- {name: cluster, connection: " + grpcUDS + "}\n"), laxer, "", notOurs},
		{"another selection without connection", selections("- {name: etcd}\n- {name: cluster, connection: " + grpcUDS + "}\n"), laxer, "", notOurs},
		{"https in upper case", tcp("HTTPConnect", "HTTPS://proxy-server:8131", mutualTLS), laxer, "", "RFC 3986: the case of a scheme means nothing, so it is clear what was meant"},
	}
}

func acceptedByBoth() []judged {
	list := []judged{
		{name: "GRPC over UDS", text: cluster(grpcUDS)},
		{name: "HTTPConnect over UDS", text: cluster(connectUDS)},
		{name: "HTTPConnect over TCP with mTLS", text: tcp("HTTPConnect", serverURL, mutualTLS)},
		{name: "a name for the certificate", text: tcp("HTTPConnect", serverURL, "{caBundle: ca.crt, clientCert: client.crt, clientKey: client.key, tlsServerName: other.example}")},
		{name: "an IPv6 address", text: tcp("HTTPConnect", "https://[2001:db8::7]:8131", mutualTLS)},
		{name: "a slash behind the port", text: tcp("HTTPConnect", serverURL+"/", mutualTLS)},
		{name: "a selection in upper case", text: selections("- {name: CLUSTER, connection: " + grpcUDS + "}\n")},
		{name: "other selections beside it", text: selections("- {name: etcd, connection: " + direct + "}\n- {name: controlplane, connection: " + connectUDS + "}\n- {name: cluster, connection: " + grpcUDS + "}\n")},
		{
			name: "JSON with tabs and escaped slashes",
			text: "{\n\t\"apiVersion\": \"VERSION\",\n\t\"kind\": \"EgressSelectorConfiguration\",\n\t\"egressSelections\": [{\"name\": \"cluster\", \"connection\": {\"proxyProtocol\": \"GRPC\", \"transport\": {\"uds\": {\"udsName\": \"\\/run\\/server.sock\"}}}}]\n}\n",
		},
	}
	for i := range list {
		list[i].want = accepted
	}
	return list
}
