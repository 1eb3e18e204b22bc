// SPDX-License-Identifier: Apache-2.0

// Package control has the command lines and the credentials of a control plane: etcd,
// kube-apiserver, kube-controller-manager and kube-scheduler. It starts nothing. In the
// seed they are programs of its node, for the shoot they are pods of the seed.
package control

import (
	"net/netip"
	"path"
)

// ServiceAccountIssuer is the issuer in the tokens of service accounts.
const ServiceAccountIssuer = "https://kubernetes.default.svc.cluster.local"

// Flags are the values that the command lines share.
type Flags struct {
	// Credentials is the folder of the [Credentials] as the programs see it.
	Credentials string
	// Etcd is the URL of the store.
	Etcd string
	// Services is the range of Services' addresses.
	Services netip.Prefix
	// Kubeconfig is the path of a file with which the other programs reach
	// kube-apiserver.
	Kubeconfig string
}

func (f Flags) file(name string) string { return path.Join(f.Credentials, name) }

// EtcdArgs returns the arguments of etcd. It listens on the addresses, as HOST:PORT, for
// clients and for peers. No peer ever connects.
func EtcdArgs(data, client, peer string) []string {
	return []string{
		"--data-dir", data,
		"--listen-client-urls", "http://" + client, "--advertise-client-urls", "http://" + client,
		"--listen-peer-urls", "http://" + peer, "--initial-advertise-peer-urls", "http://" + peer,
		"--initial-cluster", "default=http://" + peer,
	}
}

// APIServerArgs returns the arguments of kube-apiserver, except for those about its own
// address. Admission plugins are the default ones, RBAC is on.
func (f Flags) APIServerArgs() []string {
	return []string{
		"--etcd-servers", f.Etcd,
		"--tls-cert-file", f.file(servingCert), "--tls-private-key-file", f.file(servingKey),
		"--client-ca-file", f.file(CAFile), "--token-auth-file", f.file(tokensFile),
		"--authorization-mode", "RBAC", "--allow-privileged",
		"--service-cluster-ip-range", f.Services.String(),
		"--service-account-issuer", ServiceAccountIssuer,
		"--service-account-key-file", f.file(serviceAccountCert), "--service-account-signing-key-file", f.file(serviceAccountKey),
		"--kubelet-preferred-address-types", "InternalIP",
		"--kubelet-certificate-authority", f.file(CAFile),
		"--kubelet-client-certificate", f.file(kubeletClientCert), "--kubelet-client-key", f.file(kubeletClientKey),
		// With this feature gate kube-apiserver asks the watch cache for what Debian's
		// etcd cannot report yet, and complains several times a second. etcd 3.4.31 can.
		"--feature-gates", "SizeBasedListCostEstimate=false",
		"--profiling=false",
	}
}

// ControllerManagerArgs returns the arguments of kube-controller-manager.
func (f Flags) ControllerManagerArgs() []string {
	return []string{
		"--kubeconfig", f.Kubeconfig, "--leader-elect=false",
		"--service-account-private-key-file", f.file(serviceAccountKey), "--root-ca-file", f.file(CAFile),
		"--cluster-name", "cluster", "--allocate-node-cidrs=false",
		"--bind-address", "127.0.0.1", "--profiling=false",
	}
}

// SchedulerArgs returns the arguments of kube-scheduler.
func (f Flags) SchedulerArgs() []string {
	return []string{"--kubeconfig", f.Kubeconfig, "--leader-elect=false", "--bind-address", "127.0.0.1", "--profiling=false"}
}
