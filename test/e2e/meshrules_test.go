// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// mesh is how a service mesh writes its rules into a pod.
type mesh struct {
	name string
	// proxy is the user of the mesh's proxy, which listens on the two ports.
	proxy                     owner
	outboundPort, inboundPort int
	// initContainer returns what the mesh's init container runs, in a pod with these
	// annotations. An empty backend leaves the choice to the mesh.
	initContainer func(b backend, a annotations) []lab.Command
	// plugin returns what the mesh's CNI plugin runs in a pod's network namespace, before
	// the pod has containers.
	plugin func(b backend, a annotations, pod string) []lab.Command
}

// backend is a set of iptables programs.
type backend string

const (
	nft    backend = "nft"
	legacy backend = "legacy"
)

// annotations are those of a pod that a mesh reads. The comments name Istio's and
// Linkerd's.
type annotations struct {
	// traffic.sidecar.istio.io/excludeOutboundPorts, config.linkerd.io/skip-outbound-ports
	outboundPorts string
	// traffic.sidecar.istio.io/excludeInboundPorts, config.linkerd.io/skip-inbound-ports
	inboundPorts string
	// traffic.sidecar.istio.io/excludeOutboundIPRanges
	outboundRanges string
	// proxy.istio.io/config, proxyMetadata: ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE
	outboundGroups string
	// proxy.istio.io/config, proxyMetadata: ISTIO_META_DNS_CAPTURE
	captureDNS bool
}

// recommended are the annotations that docs/meshes.md tells users to set.
func recommended() annotations {
	return annotations{outboundPorts: fmt.Sprint(lab.FrontendPort), inboundPorts: fmt.Sprint(lab.HealthPort)}
}

// istio returns Istio's sidecar mode. Its programs are called as Istio's injection
// template and CNI plugin call them (istio/istio, commit 86c9f01 of 22 August 2026:
// injection-template.yaml, cni/pkg/plugin/sidecar_redirect.go).
func istio(flags ...string) mesh {
	command := func(b backend, a annotations, own ...string) []lab.Command {
		c := lab.Command{
			Path: meshProgram("istio-iptables"),
			Args: append([]string{
				"--envoy-port=15001", "--inbound-capture-port=15006", "--proxy-uid=1337", "--istio-inbound-interception-mode=REDIRECT",
				"--istio-service-cidr=*", "--istio-service-exclude-cidr=" + a.outboundRanges, "--istio-inbound-ports=*", "--log_output_level=default:info",
			}, own...),
			// The lab's pods have addresses of both families.
			Env: []string{"ISTIO_DUAL_STACK=true"},
		}
		if a.outboundPorts != "" {
			c.Args = append(c.Args, "--istio-local-outbound-ports-exclude="+a.outboundPorts)
		}
		if b != "" {
			c.Args = append(c.Args, "--force-iptables-binary="+string(b))
		}
		if a.captureDNS {
			c.Args = append(c.Args, "--redirect-dns")
		}
		c.Args = append(c.Args, flags...)
		return []lab.Command{c}
	}
	return mesh{
		name: "Istio", proxy: owner{uid: 1337}, outboundPort: 15001, inboundPort: 15006,
		initContainer: func(b backend, a annotations) []lab.Command {
			commands := command(b, a, "--istio-local-exclude-ports="+list("15090,15021,15020", a.inboundPorts))
			if a.outboundGroups != "" {
				commands[0].Env = append(commands[0].Env, "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE="+a.outboundGroups)
			}
			return commands
		},
		plugin: func(b backend, a annotations, pod string) []lab.Command {
			// The plugin has another default for ports, and captures all DNS or none.
			if a.outboundPorts == "" {
				a.outboundPorts = "15020"
			}
			own := []string{"--istio-local-exclude-ports=" + list(a.inboundPorts, "15020,15021,15090"), "--cni-mode", "--network-namespace=" + pod}
			if a.captureDNS {
				own = append(own, "--capture-all-dns")
			}
			return command(b, a, own...)
		},
	}
}

// istioNative returns Istio's sidecar mode with values.global.nativeNftables.
func istioNative() mesh {
	m := istio("--native-nftables")
	m.name = "Istio with native nftables"
	return m
}

// istioTPROXY returns Istio's sidecar mode with sidecar.istio.io/interceptionMode: TPROXY,
// which is about inbound connections.
func istioTPROXY() mesh {
	m := istio("--istio-inbound-interception-mode=TPROXY")
	m.name = "Istio with TPROXY"
	return m
}

// linkerd returns Linkerd, with the defaults of its charts. Its programs are called as
// the template _proxy-init.tpl and the CNI plugin call them (linkerd/linkerd2, commit
// b24cd40 of 21 August 2026; linkerd/linkerd2-proxy-init, commit 183e791 of 23 July 2026).
func linkerd() mesh {
	commands := func(b backend, a annotations, own ...string) []lab.Command {
		if b == "" {
			b = nft
		}
		var all []lab.Command
		for _, program := range []string{"iptables-", "ip6tables-"} {
			args := append([]string{
				"--firewall-bin-path=" + program + string(b), "--firewall-save-bin-path=" + program + string(b) + "-save",
				"--incoming-proxy-port=4143", "--outgoing-proxy-port=4140", "--proxy-uid=2102",
			}, own...)
			if a.outboundPorts != "" {
				args = append(args, "--outbound-ports-to-ignore="+a.outboundPorts)
			}
			all = append(all, lab.Command{Path: meshProgram("linkerd2-proxy-init"), Args: args})
		}
		return all
	}
	return mesh{
		name: "Linkerd", proxy: owner{uid: 2102}, outboundPort: 4140, inboundPort: 4143,
		initContainer: func(b backend, a annotations) []lab.Command {
			inbound := a.inboundPorts
			if inbound == "" {
				inbound = "4567,4568"
			}
			// Legacy has a lock, for which the plugin's -w waits. Init containers have a
			// lock of their own each, which tests that run at the same time have not.
			return commands(b, a, "--inbound-ports-to-ignore="+list("4190,4191", inbound), "--use-wait-flag")
		},
		plugin: func(b backend, a annotations, pod string) []lab.Command {
			return commands(b, a, "--inbound-ports-to-ignore="+list("4190,4191", a.inboundPorts), "--use-wait-flag", "--netns="+pod)
		},
	}
}

// list joins two comma-separated lists, either of which may be empty.
func list(a, b string) string { return strings.Trim(a+","+b, ",") }

// meshProgram returns the path of a program that `make meshes` has built.
func meshProgram(name string) string {
	_, testBin, err := lab.FindBinaries()
	if err != nil {
		return name
	}
	return filepath.Join(testBin, "meshes", name)
}

// newMeshRig builds a lab with a greeter in its seed, and without the product.
func newMeshRig(t *testing.T) *rig {
	t.Helper()
	for _, name := range []string{"istio-iptables", "linkerd2-proxy-init"} {
		if _, err := os.Stat(meshProgram(name)); err != nil {
			t.Fatalf("a program of a mesh is missing: %v; `make meshes` makes it", err)
		}
	}
	r := newBareRig(t, lab.Options{})
	r.startGreeter(t)
	return r
}

// runInit runs a mesh's init container in the pod.
func (r *rig) runInit(t *testing.T, m mesh, b backend, a annotations) {
	t.Helper()
	for _, c := range m.initContainer(b, a) {
		if _, err := r.Pod.Run(labtest.Context(t, hang), c); err != nil {
			t.Fatal(err)
		}
	}
}

// runPlugin runs a mesh's CNI plugin for the pod. Linkerd's enters the pod's network
// namespace itself, so it starts in another one. Istio's library has already entered it
// when it runs what is here a program.
func (r *rig) runPlugin(t *testing.T, m mesh, b backend, a annotations) {
	t.Helper()
	from := r.Pod
	if m.name == linkerd().name {
		from = r.Seed
	}
	for _, c := range m.plugin(b, a, "/run/netns/"+r.Pod.Name) {
		if _, err := from.Run(labtest.Context(t, hang), c); err != nil {
			t.Fatal(err)
		}
	}
}
