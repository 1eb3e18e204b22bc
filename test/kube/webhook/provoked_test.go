// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// podProvocations are failures of pods.
func podProvocations() []provocation {
	extra := func(name string, pod func() *corev1.Pod, then ...func(*inspected, *testing.T)) func(*inspected, *testing.T) func() {
		return func(in *inspected, t *testing.T) func() {
			in.pod(t, name, pod())
			for _, f := range then {
				f(in, t)
			}
			return func() { in.deletePod(t, monitored, name) }
		}
	}
	return []provocation{
		{
			"labelled pod not injected because the label came later",
			extra("late", unlabelled, func(in *inspected, t *testing.T) { in.label(t, "late") }),
			[]string{"failure pod-not-injected"},
			1,
		},
		{
			"labelled pod not injected because the webhook was not registered",
			func(in *inspected, t *testing.T) func() {
				in.unregister(t)
				made := in.pod(t, "early", labelled(nil)).CreationTimestamp
				eventually(t, "the next second, because objects' times have whole ones", func(context.Context) error {
					if time.Now().Unix() > made.Unix() {
						return nil
					}
					return errors.New("it is the same second")
				})
				in.register(t)
				return func() { in.deletePod(t, monitored, "early") }
			},
			[]string{"failure pod-not-injected"},
			1,
		},
		{
			"labelled pod not injected because its namespace is left out",
			func(in *inspected, t *testing.T) func() {
				pod := labelled(nil)
				pod.GenerateName, pod.Name = "", "system"
				in.furnished(t, metav1.NamespaceSystem)
				if _, err := in.create(t, metav1.NamespaceSystem, pod); err != nil {
					t.Fatal(err)
				}
				return func() { in.deletePod(t, metav1.NamespaceSystem, "system") }
			},
			[]string{"failure pod-not-injected"},
			1,
		},
		{
			"static pod",
			func(in *inspected, t *testing.T) func() {
				pod := labelled(nil)
				metav1.SetMetaDataAnnotation(&pod.ObjectMeta, corev1.MirrorPodAnnotationKey, "hash")
				pod.GenerateName, pod.Name, pod.Spec.NodeName = "", "static-new", "new"
				if _, err := in.create(t, metav1.NamespaceSystem, pod); err != nil {
					t.Fatal(err)
				}
				return func() { in.deletePod(t, metav1.NamespaceSystem, "static-new") }
			},
			[]string{"failure pod-not-injected"},
			1,
		},
		{
			"injected by an older version",
			extra("older", func() *corev1.Pod { return labelled(nil) }, func(in *inspected, t *testing.T) {
				in.patchPod(t, "older", map[string]any{"metadata": map[string]any{"annotations": map[string]string{
					webhook.AnnotationStatus: `{"version":"0.0.9","hash":"0123456789abcdef","initContainers":["init-redirect","proxy-client"],"volumes":["shoot-proxy-run","shoot-proxy-ca","shoot-proxy-client-tls","shoot-proxy-no-token"]}`,
				}}})
			}),
			[]string{"warning pod-outdated"},
			3,
		},
		{
			"configuration changed since",
			func(in *inspected, t *testing.T) func() {
				return in.configMap(t, "shoot: {podCIDRs: [100.64.0.0/11]}")
			},
			[]string{"warning pod-outdated"},
			3,
		},
		{
			"configuration of the namespace cannot be used",
			func(in *inspected, t *testing.T) func() { return in.configMap(t, "shoot: {podCIDRs: [100.64.0.1/11]}") },
			[]string{"warning pod-refused-anew"},
			3,
		},
		{
			"label in a place without effect",
			func(in *inspected, t *testing.T) func() {
				d := deployment("web", map[string]string{webhook.Label: "true"}, nil)
				return in.deployment(t, d)
			},
			[]string{"warning label-place"},
			3,
		},
		{
			"workload that the webhook refuses",
			func(in *inspected, t *testing.T) func() {
				d := deployment("web", nil, map[string]string{webhook.Label: "true"})
				d.Spec.Template.Spec.HostNetwork = true
				return in.deployment(t, d)
			},
			[]string{"failure workload-refused"},
			1,
		},
	}
}

// statefulSetProvocation is a StatefulSet whose pods a quota refuses.
func statefulSetProvocation() provocation {
	return provocation{"StatefulSet whose pods are refused", func(in *inspected, t *testing.T) func() {
		remove := in.quota(t, corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")})
		d := deployment("db", nil, map[string]string{webhook.Label: "true"})
		one := int32(1)
		sets := in.system.client.AppsV1().StatefulSets(monitored)
		_, err := sets.Create(t.Context(), &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "db"},
			Spec:       appsv1.StatefulSetSpec{Replicas: &one, Selector: d.Spec.Selector, Template: d.Spec.Template},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the controller to say that it cannot make the pod", func(ctx context.Context) error {
			events, err := in.system.client.CoreV1().Events(monitored).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
			if err == nil && len(events.Items) == 0 {
				err = errors.New("there is no such event")
			}
			return err
		})
		return func() {
			if err := sets.Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			remove()
		}
	}, []string{"failure workload"}, 1}
}

// secretProvocations are failures of the TLS files that pods need.
func secretProvocations() []provocation {
	client := func(data func(*inspected, *testing.T) map[string][]byte) func(*inspected, *testing.T) func() {
		return func(in *inspected, t *testing.T) func() {
			in.putSecret(t, monitored, "proxy-client-tls", data(in, t))
			return func() { in.putSecret(t, monitored, "proxy-client-tls", in.pairData(t, in.client)) }
		}
	}
	issued := func(template x509.Certificate) func(*inspected, *testing.T) map[string][]byte {
		return func(in *inspected, t *testing.T) map[string][]byte { return in.pairData(t, in.newClient(t, template)) }
	}
	ca := func(data func(*inspected, *testing.T) []byte) func(*inspected, *testing.T) func() {
		return func(in *inspected, t *testing.T) func() {
			in.putSecret(t, monitored, "ca-proxy", map[string][]byte{"ca.crt": data(in, t)})
			return func() { in.putSecret(t, monitored, "ca-proxy", map[string][]byte{"ca.crt": in.serverCA.CertPEM()}) }
		}
	}
	one := func(status, check string, code int) ([]string, int) { return []string{status + " " + check}, code }
	provoked := func(name string, provoke func(*inspected, *testing.T) func(), blamed []string, code int) provocation {
		return provocation{name, provoke, blamed, code}
	}
	failure := func(name, check string, provoke func(*inspected, *testing.T) func()) provocation {
		blamed, code := one("failure", check, 1)
		return provoked(name, provoke, blamed, code)
	}
	warning := func(name, check string, provoke func(*inspected, *testing.T) func()) provocation {
		blamed, code := one("warning", check, 3)
		return provoked(name, provoke, blamed, code)
	}
	return []provocation{
		failure("Secret lacks a key", "secret", client(func(in *inspected, t *testing.T) map[string][]byte {
			return map[string][]byte{corev1.TLSCertKey: in.client.CertPEM()}
		})),
		failure("Secret does not exist", "secret", func(in *inspected, t *testing.T) func() {
			if err := in.system.client.CoreV1().Secrets(monitored).Delete(t.Context(), "ca-proxy", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			return func() { in.putSecret(t, monitored, "ca-proxy", map[string][]byte{"ca.crt": in.serverCA.CertPEM()}) }
		}),
		failure("client certificate expired", "client-certificate", client(issued(x509.Certificate{NotAfter: time.Now().Add(-time.Minute)}))),
		failure("client certificate not valid yet", "client-certificate", client(issued(x509.Certificate{NotBefore: time.Now().Add(time.Hour)}))),
		failure("client certificate for servers", "client-certificate", client(issued(x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))),
		warning("client certificate expires soon", "client-certificate", client(issued(x509.Certificate{NotBefore: time.Now().AddDate(0, -6, 0), NotAfter: time.Now().Add(50 * 24 * time.Hour)}))),
		failure("key of another certificate", "client-certificate", client(func(in *inspected, t *testing.T) map[string][]byte {
			return map[string][]byte{corev1.TLSCertKey: in.client.CertPEM(), corev1.TLSPrivateKeyKey: in.serverCA.KeyPEM(t)}
		})),
		failure("client certificate of another CA", "proxy-server", client(func(in *inspected, t *testing.T) map[string][]byte {
			return in.pairData(t, in.serverCA.Issue(t, x509.Certificate{NotAfter: inAYear(), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}))
		})),
		failure("CA is no certificate", "ca", ca(func(*inspected, *testing.T) []byte { return []byte("ca") })),
		failure("CA of another server", "proxy-server", ca(func(in *inspected, t *testing.T) []byte { return newCA(t, "other CA", inAYear()).CertPEM() })),
	}
}

// namespaceProvocations are what stands in the way in a namespace.
func namespaceProvocations() []provocation {
	return []provocation{
		{"Pod Security", func(in *inspected, t *testing.T) func() {
			in.patchNamespace(t, `{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`)
			return func() {
				in.patchNamespace(t, `{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}}`)
			}
		}, []string{"failure pod-security"}, 1},
		{"quota on CPU limits", func(in *inspected, t *testing.T) func() {
			return in.quota(t, corev1.ResourceList{corev1.ResourceLimitsCPU: resource.MustParse("10")})
		}, []string{"failure quota"}, 1},
		{"maximum of a LimitRange", func(in *inspected, t *testing.T) func() {
			ranges := in.system.client.CoreV1().LimitRanges(monitored)
			_, err := ranges.Create(t.Context(), &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "small"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
				{Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")}},
			}}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = ranges.Delete(t.Context(), "small", metav1.DeleteOptions{}) }
		}, []string{"failure limit-range"}, 1},
		{"NetworkPolicy out of the pods' namespace", func(in *inspected, t *testing.T) func() {
			return in.policy(t, monitored, networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
				Egress:      []networkingv1.NetworkPolicyEgressRule{{Ports: ports(corev1.ProtocolUDP, 53)}},
			})
		}, []string{"failure network-policy"}, 1},
		{"NetworkPolicy that forbids names", func(in *inspected, t *testing.T) func() {
			return in.policy(t, monitored, networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
				Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: ports(corev1.ProtocolTCP, 8090), To: []networkingv1.NetworkPolicyPeer{
					{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: shootsOwn}}},
				}}},
			})
		}, []string{"failure network-policy"}, 1},
		{"NetworkPolicy into the proxy-server's namespace", func(in *inspected, t *testing.T) func() {
			return in.policy(t, shootsOwn, networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": serverName}},
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
				Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}},
			})
		}, []string{"failure network-policy"}, 1},
	}
}

// clusterProvocations are about nodes, ranges and the proxy-server.
func clusterProvocations() []provocation {
	node := func(name, kubelet, system string, change func(*corev1.Node)) func(*inspected, *testing.T) func() {
		return func(in *inspected, t *testing.T) func() {
			nodes := in.system.client.CoreV1().Nodes()
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: system}}}
			if change != nil {
				change(n)
			}
			if _, err := nodes.Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			status := fmt.Sprintf(`{"status": {"nodeInfo": {"kubeletVersion": %q}}}`, kubelet)
			if _, err := nodes.Patch(t.Context(), name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
				t.Fatal(err)
			}
			in.awaitOldest(t)
			return func() {
				if err := nodes.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				in.awaitOldest(t)
			}
		}
	}
	server := func(address string) func(*inspected, *testing.T) func() {
		return func(in *inspected, t *testing.T) func() {
			remove := in.configMap(t, fmt.Sprintf("proxyServer: {addresses: [%q]}", address))
			in.deletePod(t, monitored, "app")
			in.awaitConfigMap(t, address)
			in.pod(t, "app", labelled(nil))
			return func() {
				remove()
				in.deletePod(t, monitored, "app")
				in.awaitConfigMap(t, "proxy-server.shoot.svc:8090")
				in.pod(t, "app", labelled(nil))
			}
		}
	}
	return []provocation{
		{"node too old for native sidecars", node("old", "v1.28.9", "linux", nil), []string{"warning old-node"}, 3},
		{"node of another system", func(in *inspected, t *testing.T) func() {
			remove := node("win", "v1.36.0", "windows", nil)(in, t)
			return remove
		}, []string{"warning foreign-node"}, 3},
		{"ranges overlap", node("near", "v1.36.0", "linux", func(n *corev1.Node) { n.Spec.PodCIDR, n.Spec.PodCIDRs = "100.64.7.0/24", []string{"100.64.7.0/24"} }), []string{"warning overlap"}, 3},
		{"no Service of that name", server("nobody.shoot.svc:8090"), []string{"failure proxy-server"}, 1},
		{"another port of the Service", server("proxy-server.shoot.svc:8091"), []string{"failure proxy-server"}, 1},
		{"another name of the server", server("proxy-server.shoot:8090"), []string{"failure proxy-server"}, 1},
		{"no proxy-server is ready", func(in *inspected, t *testing.T) func() {
			in.serverReady(t, false)
			return func() { in.serverReady(t, true) }
		}, []string{"failure proxy-server"}, 1},
	}
}

// webhookProvocations are failures of the webhook itself.
func webhookProvocations() []provocation {
	return []provocation{
		{"webhook does not run", func(in *inspected, t *testing.T) func() {
			in.kill()
			in.makeReady(t, false)
			return func() { in.start(t); in.makeReady(t, true) }
		}, []string{"failure deployment", "skipped dry-run"}, 1},
		{"webhook cannot be reached", func(in *inspected, t *testing.T) func() {
			in.kill()
			return func() { in.start(t) }
		}, []string{"failure dry-run"}, 1},
		{"failurePolicy", func(in *inspected, t *testing.T) func() {
			in.patchRegistration(t, `[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]`)
			return func() {
				in.patchRegistration(t, `[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]`)
			}
		}, []string{"warning failure-policy"}, 3},
		{"another CA in caBundle", func(in *inspected, t *testing.T) func() {
			in.kill() // it would repair it
			text, err := json.Marshal(newCA(t, "other CA", inAYear()).CertPEM())
			if err != nil {
				t.Fatal(err)
			}
			in.patchRegistration(t, fmt.Sprintf(`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": %s}]`, text))
			return func() { in.start(t); in.awaitInjection(t) }
		}, []string{"failure serving-certificate", "skipped dry-run"}, 1},
		{"no registration", func(in *inspected, t *testing.T) func() {
			in.unregister(t)
			return func() { in.register(t) }
		}, []string{"failure registration"}, 1},
	}
}
