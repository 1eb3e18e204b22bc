// SPDX-License-Identifier: Apache-2.0

package webhook

// Label on a pod asks for the injection: "true" or "false".
const Label = AnnotationPrefix + "inject"

// The annotations of a pod, without AnnotationPrefix.
const (
	AnnotationPrefix = "shoot-proxy.io/"

	annotationConfig        = "config" // which ConfigMap of the namespace
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
	annotationStatus        = "status" // ours: what was injected
)

// AnnotationStatus is what an injected pod carries: version, hash of what was
// injected, and the names that are ours.
const AnnotationStatus = AnnotationPrefix + annotationStatus

// annotationRenewed is on a pod that came to kube-apiserver with a status annotation, and
// was injected anew: see [injectedJustNow].
const annotationRenewed = AnnotationPrefix + "renewed"

// A ConfigMap with an InjectionConfig for its namespace.
const (
	// DefaultConfigMap is the one that is read where a pod names no other.
	DefaultConfigMap = "shoot-proxy"
	// ConfigKey is the key in it.
	ConfigKey = "config.yaml"
)

// What a pod gets.
const (
	initRedirect = "init-redirect"
	proxyClient  = "proxy-client"

	volumeRun     = "shoot-proxy-run"
	volumeCA      = "shoot-proxy-ca"
	volumeClient  = "shoot-proxy-client-tls"
	volumeNoToken = "shoot-proxy-no-token" // empty, in its place

	pathRun    = "/run"
	pathCA     = "/certs/ca"
	pathClient = "/certs/client"
	// pathToken is where kube-apiserver mounts the pod's ServiceAccount token into
	// every container that has nothing there (plugin ServiceAccount,
	// DefaultAPITokenMountPath).
	pathToken = "/var/run/secrets/kubernetes.io/serviceaccount"

	healthPortName = "proxy-health"

	// defaultContainer is kubectl's: which container it means where none is named.
	defaultContainer = "kubectl.kubernetes.io/default-container"
)

// ourVolumes are the names that a pod may not use itself.
var ourVolumes = []string{volumeRun, volumeCA, volumeClient, volumeNoToken}
