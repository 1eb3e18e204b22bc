// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/internal/spelling"
	"github.com/shoot-proxy/proxy-client/internal/strictyaml"
)

// The names in the configuration's format.
const (
	configAPIVersion = "config.shoot-proxy.io/v1alpha1"
	configKind       = "InjectionConfig"
)

// Config is one source of configuration: the operator's file, or a namespace's
// ConfigMap. Make one with [ParseConfig] or [ParseNamespaceConfig].
type Config struct {
	file   file
	source string
}

// file is an InjectionConfig as written, or the combination of all sources.
//
// Its tags are the only table of the settings. yaml is the field's name. flag is the
// flag of the programs that takes the value and validates it. annotation is the
// annotation with which a pod sets it. default is the value if no source sets it;
// "flag" means the flag's own default.
type file struct {
	APIVersion    string      `yaml:"apiVersion"`
	Kind          string      `yaml:"kind"`
	Shoot         shoot       `yaml:"shoot"`
	ExcludeCIDRs  []string    `yaml:"excludeCIDRs" flag:"exclude-cidr" annotation:"exclude-cidrs"`
	ExcludePorts  []string    `yaml:"excludePorts" flag:"exclude-port" annotation:"exclude-ports"`
	ExcludeUIDs   []string    `yaml:"excludeUIDs" flag:"exclude-uid" annotation:"exclude-uids"`
	ProxyServer   proxyServer `yaml:"proxyServer"`
	NativeSidecar string      `yaml:"nativeSidecar" annotation:"native-sidecar" default:"auto"`
	// Inject decides whether labelled pods are injected at all. It is no setting of an
	// injection, so it is not among the fields.
	Inject string `yaml:"inject"`

	// Only for the operator:
	Version  string    `yaml:"version"` // for the status annotation
	Images   *images   `yaml:"images"`
	Sidecar  *sidecar  `yaml:"sidecar"`
	Redirect *redirect `yaml:"redirect"`
	Pod      *podParts `yaml:"pod"`
	Policy   *policy   `yaml:"policy"`
}

// images are the images of the two containers.
type images struct {
	ProxyClient  string `yaml:"proxyClient"`
	InitRedirect string `yaml:"initRedirect"`
}

type shoot struct {
	PodCIDRs     []string `yaml:"podCIDRs" flag:"shoot-pod-cidr" annotation:"pod-cidrs"`
	ServiceCIDRs []string `yaml:"serviceCIDRs" flag:"shoot-service-cidr" annotation:"service-cidrs"`
	NodeCIDRs    []string `yaml:"nodeCIDRs" flag:"shoot-node-cidr" annotation:"node-cidrs"`
}

// cidrs returns all CIDRs of the shoot.
func (s *shoot) cidrs() []string { return slices.Concat(s.PodCIDRs, s.ServiceCIDRs, s.NodeCIDRs) }

type proxyServer struct {
	Addresses     []string `yaml:"addresses" flag:"proxy-server" annotation:"proxy-server"`
	Mode          string   `yaml:"mode" flag:"mode" annotation:"mode" default:"flag"`
	ServerName    string   `yaml:"serverName" flag:"server-name"`
	ALPNProtocols []string `yaml:"alpnProtocols" flag:"alpn-proto"`
	TLS           tlsNames `yaml:"tls"`
}

// tlsNames are names of Secrets and a ConfigMap in the pod's namespace. The CA is in a
// Secret or in the ConfigMap.
type tlsNames struct {
	CASecret     string `yaml:"caSecret" annotation:"ca-secret"`
	CAConfigMap  string `yaml:"caConfigMap" annotation:"ca-configmap"`
	CAKey        string `yaml:"caKey" default:"ca.crt"`
	ClientSecret string `yaml:"clientSecret" annotation:"client-secret"` // of type kubernetes.io/tls
}

// sidecar configures proxy-client. The log settings and the pull policy are for both
// containers.
type sidecar struct {
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
	Resources        resources `yaml:"resources"`
}

// redirect configures init-redirect, and what both containers must agree on.
type redirect struct {
	Iptables  string    `yaml:"iptables" flag:"iptables" default:"flag"`
	ProxyPort string    `yaml:"proxyPort" flag:"proxy-port"`
	ProxyUID  string    `yaml:"proxyUID" flag:"proxy-uid"` // the user of proxy-client
	Resources resources `yaml:"resources"`
}

// podParts are what a pod gets in addition to containers and volumes. What it already
// has stays.
type podParts struct {
	Labels           map[string]string `yaml:"labels"`
	ImagePullSecrets []string          `yaml:"imagePullSecrets"`
}

// resources are the requests and limits of a container. Unset amounts have defaults.
type resources struct {
	Requests amounts `yaml:"requests"`
	Limits   amounts `yaml:"limits"`
}

type amounts struct {
	CPU              string `yaml:"cpu"`
	Memory           string `yaml:"memory"`
	EphemeralStorage string `yaml:"ephemeral-storage"`
}

// policy is what pods may choose, and what the operator knows about the cluster.
type policy struct {
	LockedFields []string `yaml:"lockedFields"`
	ConfigMaps   []string `yaml:"configMaps"`
	Gardener     bool     `yaml:"gardener"`
	SeedCIDRs    []string `yaml:"seedCIDRs"`
}

// ParseConfig parses the operator's InjectionConfig. source is its name in errors and
// explanations, such as `--config "webhook.yaml"`.
func ParseConfig(source string, data []byte) (*Config, error) {
	c := &Config{source: source}
	if problem := c.parse(data); problem != "" {
		return nil, fmt.Errorf("%s %s", source, problem)
	}
	return c, nil
}

// linePattern matches the line number in a problem.
var linePattern = regexp.MustCompile(`\bline \d+\b`)

// ParseNamespaceConfig parses the InjectionConfig of a ConfigMap. Its errors quote
// nothing of it, because the author of a pod may lack the right to read it.
func ParseNamespaceConfig(source string, data []byte) (*Config, error) {
	c := &Config{source: source}
	problem := c.parse(data)
	switch {
	case problem != "":
		where := ""
		if line := linePattern.FindString(problem); line != "" {
			where = " (" + line + ")"
		} else if field := c.fieldIn(problem); field != "" {
			where = " (" + field + ")"
		}
		return nil, &configError{fmt.Sprintf("%s cannot be used%s: whoever may read it sees why with `webhook explain --config`", source, where), source + " " + problem}
	case c.operatorsOwn() != "":
		return nil, &configError{fmt.Sprintf("%s has a field %s, which is the operator's alone: remove it", source, c.operatorsOwn()), ""}
	}
	return c, nil
}

// operatorsOwn returns the first field of the file that only the operator may set.
func (c *Config) operatorsOwn() string {
	f := &c.file
	switch {
	case f.Version != "":
		return "version"
	case f.Images != nil:
		return "images"
	case f.Sidecar != nil:
		return "sidecar"
	case f.Redirect != nil:
		return "redirect"
	case f.Pod != nil:
		return "pod"
	case f.Policy != nil:
		return "policy"
	default:
		return ""
	}
}

// configError is an error with two sentences: one for everyone, and one for readers of
// the configuration.
type configError struct{ sentence, detail string }

func (e *configError) Error() string { return e.sentence }

// Detail returns the sentence for readers of the configuration. It is err's own
// sentence if there is no other.
func Detail(err error) string {
	if e, ok := errors.AsType[*configError](err); ok && e.detail != "" {
		return e.detail
	}
	return err.Error()
}

// fieldIn returns the field with which problem begins, or "".
func (c *Config) fieldIn(problem string) string {
	word, _, _ := strings.Cut(problem, " ")
	if word == fieldInject {
		return word
	}
	for _, f := range fields() {
		if f.name == word {
			return word
		}
	}
	return ""
}

func (c *Config) parse(data []byte) (problem string) {
	if areChartValues(data) {
		return fmt.Sprintf("has the chart's values: give a file with what is under config, and with apiVersion: %s and kind: %s", configAPIVersion, configKind)
	}
	if err := strictyaml.Decode(data, configKind, &c.file); err != nil {
		return err.Error()
	}
	switch {
	case c.file.APIVersion != configAPIVersion:
		return fmt.Sprintf("has apiVersion %q: write %s", c.file.APIVersion, configAPIVersion)
	case c.file.Kind != configKind:
		return fmt.Sprintf("has kind %q: write %s", c.file.Kind, configKind)
	}
	if problem := c.checkInject(); problem != "" {
		return problem
	}
	if problem := c.checkLists(); problem != "" {
		return problem
	}
	if problem := c.checkPolicy(); problem != "" {
		return problem
	}
	if problem := c.checkNeeds(); problem != "" {
		return problem
	}
	return c.checkValues()
}

// areChartValues reports whether a file is meant for the chart, whose values contain
// the InjectionConfig in a section. Fields of both, such as images, have another
// meaning there.
func areChartValues(data []byte) bool {
	var values struct {
		Kind   string         `yaml:"kind"`
		Config map[string]any `yaml:"config"`
	}
	return yaml.Unmarshal(data, &values) == nil && values.Kind == "" && values.Config != nil
}

// checkLists refuses empty lists of fields. The lists of policy may be empty.
func (c *Config) checkLists() string {
	for _, f := range fields() {
		if values := f.of(&c.file); values != nil && len(values) == 0 {
			return f.name + " is an empty list: leave it out, or write something into it"
		}
	}
	return ""
}

// lockable returns the annotations that an operator may forbid.
func lockable() []string {
	names := []string{annotationConfig}
	for _, f := range fields() {
		if f.annotation != "" {
			names = append(names, f.annotation)
		}
	}
	return names
}

func (c *Config) checkPolicy() string {
	if c.file.Policy == nil {
		return ""
	}
	for _, name := range c.file.Policy.LockedFields {
		if !slices.Contains(lockable(), name) {
			return fmt.Sprintf("policy.lockedFields %q is no annotation: %s", name, spelling.Question(name, lockable(), "write some of "+strings.Join(lockable(), ", ")))
		}
	}
	for _, name := range c.file.Policy.ConfigMaps {
		if problem := checkName(name); problem != "" {
			return fmt.Sprintf("policy.configMaps %q %s", name, problem)
		}
	}
	for _, value := range c.file.Policy.SeedCIDRs {
		if _, problem := parsePrefix(value); problem != "" {
			return fmt.Sprintf("policy.seedCIDRs %q %s", value, problem)
		}
	}
	return ""
}

// Version returns the version that injected pods get in their status, or "".
func (c *Config) Version() string {
	if c == nil {
		return ""
	}
	return c.file.Version
}

// Gardener reports whether Gardener's Cluster resources are a source.
func (c *Config) Gardener() bool { return c != nil && c.file.Policy != nil && c.file.Policy.Gardener }

// ConfigMaps returns the names that a pod may choose from.
func (c *Config) ConfigMaps() []string {
	if c != nil && c.file.Policy != nil && c.file.Policy.ConfigMaps != nil {
		return c.file.Policy.ConfigMaps
	}
	return []string{DefaultConfigMap}
}

// locked reports whether a pod may not use an annotation. Without an operator's file
// nothing is locked, because the pod's author is the operator.
func (c *Config) locked(annotation string) bool {
	if c == nil {
		return false
	}
	locked := []string{annotationProxyServer, annotationCASecret, annotationClientSecret}
	if c.file.Policy != nil && c.file.Policy.LockedFields != nil {
		locked = c.file.Policy.LockedFields
	}
	// Both annotations say which CA to trust. So a list that was written before
	// annotation ca-configmap existed covers both.
	if annotation == annotationCAConfigMap && slices.Contains(locked, annotationCASecret) {
		return true
	}
	return slices.Contains(locked, annotation)
}

func (c *Config) seedCIDRs() []string {
	if c == nil || c.file.Policy == nil {
		return nil
	}
	return c.file.Policy.SeedCIDRs
}
