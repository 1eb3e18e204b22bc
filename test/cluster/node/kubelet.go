// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Access is what a node needs to know about its cluster.
type Access struct {
	// Server is kube-apiserver's URL as the node reaches it.
	Server string
	// CA is the PEM file of the cluster's CA. It has signed kube-apiserver's certificate,
	// and the certificate with which kube-apiserver connects to the kubelet.
	CA string
	// Token is one of kube-apiserver's.
	Token string
	// Cert and Key are the PEM files of the kubelet's own serving certificate.
	Cert, Key string
	// DNS is the cluster IP of the cluster's name server.
	DNS netip.Addr
}

// StartKubelet starts the kubelet and kube-proxy, and waits until both say that they are
// healthy. The Node object may take a moment longer to be ready.
func (n *Node) StartKubelet(ctx context.Context, access Access) error {
	for to, from := range map[string]string{"cluster-ca.crt": access.CA, "kubelet.crt": access.Cert, "kubelet.key": access.Key} {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.path("files", to), text, 0o600); err != nil {
			return err
		}
	}
	if err := WriteKubeconfig(n.path("files", "kubeconfig"), access.Server, access.CA, access.Token); err != nil {
		return err
	}
	for name, config := range map[string]map[string]any{"kubelet": n.kubeletConfig(access), "kube-proxy": n.kubeProxyConfig()} {
		text, err := json.MarshalIndent(config, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.path("files", name+".json"), text, 0o644); err != nil {
			return err
		}
	}
	kubelet := Program{Name: "kubelet", Args: []string{
		Binaries + "/kube/kubelet", "--config", Dir + "/files/kubelet.json", "--kubeconfig", Dir + "/files/kubeconfig",
		"--root-dir", "/var/lib/kubelet", "--cert-dir", "/var/lib/kubelet/pki",
		"--node-ip", n.Address.String(), "--hostname-override", n.Name,
	}}
	kubeProxy := Program{Name: "kube-proxy", Args: []string{
		Binaries + "/kube/kube-proxy", "--config", Dir + "/files/kube-proxy.json", "--hostname-override", n.Name,
	}}
	if err := errors.Join(n.StartProgram(kubelet), n.StartProgram(kubeProxy)); err != nil {
		return err
	}
	for program, url := range map[string]string{"kubelet": "http://127.0.0.1:10248/healthz", "kube-proxy": "http://127.0.0.1:10256/healthz"} {
		err := n.WaitFor(ctx, program, "its health", func(ctx context.Context) error { return n.get(ctx, url) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) kubeletConfig(access Access) map[string]any {
	type object = map[string]any
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		// The default. A port-forward to a pod on the node's network uses 127.0.0.1.
		"address":           "0.0.0.0",
		"tlsCertFile":       Dir + "/files/kubelet.crt",
		"tlsPrivateKeyFile": Dir + "/files/kubelet.key",
		"authentication": object{
			"anonymous": object{"enabled": false}, "webhook": object{"enabled": true},
			"x509": object{"clientCAFile": Dir + "/files/cluster-ca.crt"},
		},
		"authorization":            object{"mode": "Webhook"},
		"clusterDNS":               []string{access.DNS.String()},
		"clusterDomain":            "cluster.local",
		"resolvConf":               "/etc/resolv.conf",
		"containerRuntimeEndpoint": "unix://" + ContainerdSocket,
		// The node has its own cgroup folder, and its programs are in none.
		"cgroupDriver": "cgroupfs", "cgroupsPerQOS": true, "cgroupRoot": "/" + n.Cgroup,
		"enforceNodeAllocatable": []string{}, "failCgroupV1": false,
		"oomScoreAdj": 0, "failSwapOn": false, // both belong to the machine
		// The default is a folder of the machine.
		"volumePluginDir": "/var/lib/kubelet/plugins-exec",
		// Other programs use the machine's memory and disks too. Their use must evict no
		// pod.
		"evictionHard":                object{"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
		"imageGCHighThresholdPercent": 100,
		"makeIPTablesUtilChains":      false,
		"shutdownGracePeriod":         "0s", "shutdownGracePeriodCriticalPods": "0s", // there is no systemd
		"nodeStatusUpdateFrequency": "2s", // an image that was imported counts as present at once in any case
		"syncFrequency":             "10s",
		"maxPods":                   110,
	}
}

func (n *Node) kubeProxyConfig() map[string]any {
	type object = map[string]any
	return object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode":             "nftables",
		"nftables":         object{"minSyncPeriod": "100ms", "syncPeriod": "30s"},
		"clientConnection": object{"kubeconfig": Dir + "/files/kubeconfig"},
		"clusterCIDR":      n.Pods.String(),
		"oomScoreAdj":      0,
		// These are sysctls of the whole machine, which stay as they are.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}

// get expects a 200 answer of a URL inside the node. The address must be numeric.
func (n *Node) get(ctx context.Context, url string) error {
	_, err := lab.Get(ctx, &http.Client{Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}}, url)
	return err
}

// WriteKubeconfig writes a kubeconfig file that refers to no other file.
func WriteKubeconfig(path, server, ca, token string) error {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(filepath.Base(path), ".kubeconfig")
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: pem}
	config.AuthInfos[name] = &api.AuthInfo{Token: token}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", path, err)
	}
	return nil
}
