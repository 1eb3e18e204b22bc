// SPDX-License-Identifier: Apache-2.0

package webhook

// Label on a pod asks for the injection: "true" or "false".
const Label = AnnotationPrefix + "inject"

// The annotations of a pod, without AnnotationPrefix.
const (
	AnnotationPrefix = "shoot-proxy.io/"

	annotationConfig        = "config" // the ConfigMap to use
	annotationPodCIDRs      = "pod-cidrs"
	annotationServiceCIDRs  = "service-cidrs"
	annotationNodeCIDRs     = "node-cidrs"
	annotationExcludeCIDRs  = "exclude-cidrs"
	annotationExcludePorts  = "exclude-ports"
	annotationExcludeUIDs   = "exclude-uids"
	annotationProxyServer   = "proxy-server"
	annotationMode          = "mode"
	annotationCASecret      = "ca-secret"
	annotationCAConfigMap   = "ca-configmap"
	annotationClientSecret  = "client-secret"
	annotationNativeSidecar = "native-sidecar"
	annotationStatus        = "status" // written by the webhook: what was injected
)

// AnnotationStatus is the status annotation of an injected pod: the version, a hash of
// what was injected, and the names of our parts.
const AnnotationStatus = AnnotationPrefix + annotationStatus

// annotationRenewed marks a pod that came to kube-apiserver with a status annotation,
// and was injected again: see [injectedJustNow].
const annotationRenewed = AnnotationPrefix + "renewed"

// The ConfigMap with an InjectionConfig for its namespace.
const (
	// DefaultConfigMap is the ConfigMap that is read if a pod names no other.
	DefaultConfigMap = "shoot-proxy"
	// ConfigKey is the key with the InjectionConfig.
	ConfigKey = "config.yaml"
)

// The parts that a pod gets.
const (
	initRedirect = "init-redirect"
	proxyClient  = "proxy-client"

	volumeRun     = "shoot-proxy-run"
	volumeCA      = "shoot-proxy-ca"
	volumeClient  = "shoot-proxy-client-tls"
	volumeNoToken = "shoot-proxy-no-token" // mounted empty over the token

	volumeExitCA     = "shoot-proxy-exit-ca"
	volumeExitClient = "shoot-proxy-exit-client-tls"

	pathRun        = "/run"
	pathCA         = "/certs/ca"
	pathClient     = "/certs/client"
	pathExitCA     = "/certs/exit-ca"
	pathExitClient = "/certs/exit-client"
	// pathToken is the path at which kube-apiserver mounts the pod's ServiceAccount
	// token, in every container without another mount there (plugin ServiceAccount,
	// DefaultAPITokenMountPath).
	pathToken = "/var/run/secrets/kubernetes.io/serviceaccount"

	healthPortName = "proxy-health"

	// defaultContainer is kubectl's annotation for the container to use if none is
	// named.
	defaultContainer = "kubectl.kubernetes.io/default-container"
)

// ourVolumes are the volume names that a pod may not use itself.
var ourVolumes = []string{volumeRun, volumeCA, volumeClient, volumeNoToken, volumeExitCA, volumeExitClient}
