// SPDX-License-Identifier: Apache-2.0

package configfile

import "slices"

// Inject is the field with which a configuration leaves labelled pods alone.
const Inject = "inject"

// File is an InjectionConfig as written, or the combination of all sources.
//
// Its tags are the only table of the settings. yaml is the field's name. flag is the
// flag of the programs that takes the value and validates it. annotation is the
// annotation with which a pod sets it. default is the value if no source sets it;
// "flag" means the flag's own default.
type File struct {
	APIVersion    string      `yaml:"apiVersion"`
	Kind          string      `yaml:"kind"`
	Shoot         Shoot       `yaml:"shoot"`
	ExcludeCIDRs  []string    `yaml:"excludeCIDRs" flag:"exclude-cidr" annotation:"exclude-cidrs"`
	ExcludePorts  []string    `yaml:"excludePorts" flag:"exclude-port" annotation:"exclude-ports"`
	ExcludeUIDs   []string    `yaml:"excludeUIDs" flag:"exclude-uid" annotation:"exclude-uids"`
	ProxyServer   ProxyServer `yaml:"proxyServer"`
	Exit          Exit        `yaml:"exit"`
	NativeSidecar string      `yaml:"nativeSidecar" annotation:"native-sidecar" default:"auto"`
	// Inject decides whether labelled pods are injected at all. It is no setting of an
	// injection, so it is not among the fields.
	Inject string `yaml:"inject"`

	// Only for the operator:
	Version  string    `yaml:"version"` // for the status annotation
	Images   *Images   `yaml:"images"`
	Sidecar  *Sidecar  `yaml:"sidecar"`
	Redirect *Redirect `yaml:"redirect"`
	Pod      *PodParts `yaml:"pod"`
	Policy   *Policy   `yaml:"policy"`
}

// Images are the images of the two containers.
type Images struct {
	ProxyClient  string `yaml:"proxyClient"`
	InitRedirect string `yaml:"initRedirect"`
}

// Shoot is where the shoot is.
type Shoot struct {
	PodCIDRs     []string `yaml:"podCIDRs" flag:"shoot-pod-cidr" annotation:"pod-cidrs"`
	ServiceCIDRs []string `yaml:"serviceCIDRs" flag:"shoot-service-cidr" annotation:"service-cidrs"`
	NodeCIDRs    []string `yaml:"nodeCIDRs" flag:"shoot-node-cidr" annotation:"node-cidrs"`
}

// CIDRs returns all CIDRs of the shoot.
func (s *Shoot) CIDRs() []string { return slices.Concat(s.PodCIDRs, s.ServiceCIDRs, s.NodeCIDRs) }

// ProxyServer is how proxy-client reaches a proxy-server.
type ProxyServer struct {
	Addresses     []string `yaml:"addresses" flag:"proxy-server" annotation:"proxy-server"`
	Mode          string   `yaml:"mode" flag:"mode" annotation:"mode" default:"flag"`
	ServerName    string   `yaml:"serverName" flag:"server-name"`
	ALPNProtocols []string `yaml:"alpnProtocols" flag:"alpn-proto"`
	TLS           TLSNames `yaml:"tls"`
}

// TLSNames are names of Secrets and a ConfigMap in the pod's namespace. The CA is in a
// Secret or in the ConfigMap.
type TLSNames struct {
	CASecret     string `yaml:"caSecret" annotation:"ca-secret"`
	CAConfigMap  string `yaml:"caConfigMap" annotation:"ca-configmap"`
	CAKey        string `yaml:"caKey" default:"ca.crt"`
	ClientSecret string `yaml:"clientSecret" annotation:"client-secret"` // of type kubernetes.io/tls
}

// Exit is the exit in the shoot, if there is one. Its fields have no defaults here, so that
// nothing is said of an exit if there is none.
type Exit struct {
	Addresses  []string `yaml:"addresses" flag:"exit"`
	ServerName string   `yaml:"serverName" flag:"exit-server-name"`
	Policy     string   `yaml:"policy" flag:"exit-policy"`
	TLS        ExitTLS  `yaml:"tls"`
}

// ExitTLS are names of Secrets and a ConfigMap in the pod's namespace. The CA is in a Secret
// or in the ConfigMap.
type ExitTLS struct {
	CASecret     string `yaml:"caSecret"`
	CAConfigMap  string `yaml:"caConfigMap"`
	CAKey        string `yaml:"caKey"`        // empty means [DefaultCAKey]
	ClientSecret string `yaml:"clientSecret"` // of type kubernetes.io/tls
}

// DefaultCAKey is the key of a CA's certificate.
const DefaultCAKey = "ca.crt"

// Sidecar configures proxy-client. The log settings and the pull policy are for both
// containers.
type Sidecar struct {
	TotalBuffer      string    `yaml:"totalBuffer" flag:"total-buffer" default:"flag"`
	ConnectionBuffer string    `yaml:"connectionBuffer" flag:"connection-buffer"`
	MaxConnections   string    `yaml:"maxConnections" flag:"max-connections"`
	MaxDials         string    `yaml:"maxDials" flag:"max-dials"`
	DialTimeout      string    `yaml:"dialTimeout" flag:"dial-timeout"`
	HalfCloseTimeout string    `yaml:"halfCloseTimeout" flag:"half-close-timeout"`
	IdleTimeout      string    `yaml:"idleTimeout" flag:"idle-timeout"`
	ServerKeepalive  string    `yaml:"serverKeepalive" flag:"server-keepalive"`
	DrainTimeout     string    `yaml:"drainTimeout" flag:"drain-timeout"` // shorter if the pod has less time to end
	HealthPort       string    `yaml:"healthPort"`                        // the default is that of flag --health-address
	ReadinessProbe   string    `yaml:"readinessProbe" default:"false"`
	LogFormat        string    `yaml:"logFormat" flag:"log-format" default:"json"`
	LogLevel         string    `yaml:"logLevel" flag:"log-level" default:"flag"`
	ImagePullPolicy  string    `yaml:"imagePullPolicy" default:"IfNotPresent"`
	Resources        Resources `yaml:"resources"`
}

// Redirect configures init-redirect, and what both containers must agree on.
type Redirect struct {
	Iptables  string    `yaml:"iptables" flag:"iptables" default:"flag"`
	ProxyPort string    `yaml:"proxyPort" flag:"proxy-port"`
	ProxyUID  string    `yaml:"proxyUID" flag:"proxy-uid"` // the user of proxy-client
	Resources Resources `yaml:"resources"`
}

// PodParts are what a pod gets in addition to containers and volumes. What it already
// has stays.
type PodParts struct {
	Labels           map[string]string `yaml:"labels"`
	ImagePullSecrets []string          `yaml:"imagePullSecrets"`
}

// Resources are the requests and limits of a container. Unset amounts have defaults.
type Resources struct {
	Requests Amounts `yaml:"requests"`
	Limits   Amounts `yaml:"limits"`
}

// Amounts are amounts of resources, as written.
type Amounts struct {
	CPU              string `yaml:"cpu"`
	Memory           string `yaml:"memory"`
	EphemeralStorage string `yaml:"ephemeral-storage"`
}

// Policy is what pods may choose, and what the operator knows about the cluster.
type Policy struct {
	LockedFields []string `yaml:"lockedFields"`
	ConfigMaps   []string `yaml:"configMaps"`
	Gardener     bool     `yaml:"gardener"`
	SeedCIDRs    []string `yaml:"seedCIDRs"`
}
