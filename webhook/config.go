// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/shoot-proxy/proxy-client/internal/strictyaml"
)

// The names of the configuration's format.
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

// file is an InjectionConfig as it is written.
type file struct {
	APIVersion    string      `yaml:"apiVersion"`
	Kind          string      `yaml:"kind"`
	Shoot         shoot       `yaml:"shoot"`
	ExcludeCIDRs  []string    `yaml:"excludeCIDRs"`
	ExcludePorts  []string    `yaml:"excludePorts"`
	ProxyServer   proxyServer `yaml:"proxyServer"`
	NativeSidecar string      `yaml:"nativeSidecar"`

	// The operator's alone:
	Sidecar *sidecar `yaml:"sidecar"`
	Policy  *policy  `yaml:"policy"`
}

type shoot struct {
	PodCIDRs     []string `yaml:"podCIDRs"`
	ServiceCIDRs []string `yaml:"serviceCIDRs"`
	NodeCIDRs    []string `yaml:"nodeCIDRs"`
}

type proxyServer struct {
	Addresses  []string `yaml:"addresses"`
	Mode       string   `yaml:"mode"`
	ServerName string   `yaml:"serverName"`
	TLS        tlsNames `yaml:"tls"`
}

// tlsNames are Secrets in the pod's namespace.
type tlsNames struct {
	CASecret     string `yaml:"caSecret"`
	CAKey        string `yaml:"caKey"`
	ClientSecret string `yaml:"clientSecret"` // of type kubernetes.io/tls
}

// sidecar is what the two containers are like.
type sidecar struct {
	TotalBuffer     string    `yaml:"totalBuffer"`
	Iptables        string    `yaml:"iptables"`
	ReadinessProbe  bool      `yaml:"readinessProbe"`
	LogFormat       string    `yaml:"logFormat"`
	LogLevel        string    `yaml:"logLevel"`
	ImagePullPolicy string    `yaml:"imagePullPolicy"`
	Resources       resources `yaml:"resources"` // of proxy-client
}

type resources struct {
	Requests map[string]string `yaml:"requests"`
	Limits   map[string]string `yaml:"limits"`
}

// policy is what pods may choose, and what the operator knows of the cluster.
type policy struct {
	LockedFields []string `yaml:"lockedFields"`
	ConfigMaps   []string `yaml:"configMaps"`
	Gardener     bool     `yaml:"gardener"`
	SeedCIDRs    []string `yaml:"seedCIDRs"`
}

// ParseConfig reads the operator's InjectionConfig. source is what errors and
// explanations call it, such as `--config "webhook.yaml"`.
func ParseConfig(source string, data []byte) (*Config, error) {
	c := &Config{source: source}
	if problem := c.parse(data); problem != "" {
		return nil, fmt.Errorf("%s %s", source, problem)
	}
	return c, nil
}

// lineOf finds where a file does not parse.
var lineOf = regexp.MustCompile(`\bline \d+\b`)

// ParseNamespaceConfig reads the InjectionConfig of a ConfigMap. Its errors quote
// nothing of it: whoever makes a pod need not be one who may read it.
func ParseNamespaceConfig(source string, data []byte) (*Config, error) {
	c := &Config{source: source}
	problem := c.parse(data)
	switch {
	case problem != "":
		where := ""
		if line := lineOf.FindString(problem); line != "" {
			where = " (" + line + ")"
		} else if field := c.fieldIn(problem); field != "" {
			where = " (" + field + ")"
		}
		return nil, &configError{fmt.Sprintf("%s cannot be used%s: whoever may read it sees why with `webhook explain --config`", source, where), problem}
	case c.file.Sidecar != nil:
		return nil, &configError{source + " has a section sidecar, which is the operator's alone: remove it", ""}
	case c.file.Policy != nil:
		return nil, &configError{source + " has a section policy, which is the operator's alone: remove it", ""}
	}
	return c, nil
}

// configError is an error with details for the operator's eyes.
type configError struct{ sentence, detail string }

func (e *configError) Error() string { return e.sentence }

// Detail returns what err says to the operator alone, for a log: err's own sentence
// where there is nothing more.
func Detail(err error) string {
	if e, ok := errors.AsType[*configError](err); ok && e.detail != "" {
		return e.sentence + ": " + e.detail
	}
	return err.Error()
}

// fieldIn returns the field of ours with which problem begins, if it does.
func (c *Config) fieldIn(problem string) string {
	word, _, _ := strings.Cut(problem, " ")
	for _, f := range fields() {
		if f.name == word {
			return word
		}
	}
	return ""
}

func (c *Config) parse(data []byte) (problem string) {
	if problem := strictyaml.Decode(data, configKind, &c.file); problem != "" {
		return problem
	}
	switch {
	case c.file.APIVersion != configAPIVersion:
		return fmt.Sprintf("has apiVersion %q: write %s", c.file.APIVersion, configAPIVersion)
	case c.file.Kind != configKind:
		return fmt.Sprintf("has kind %q: write %s", c.file.Kind, configKind)
	}
	if problem := c.checkLists(); problem != "" {
		return problem
	}
	if problem := c.checkPolicy(); problem != "" {
		return problem
	}
	if problem := c.checkResources(); problem != "" {
		return problem
	}
	return c.checkValues()
}

// checkLists refuses what is there and says nothing.
func (c *Config) checkLists() string {
	for _, f := range fields() {
		if values := f.of(c); values != nil && len(values) == 0 {
			return f.name + " is an empty list: leave it out, or write something into it"
		}
	}
	return ""
}

// lockable are the annotations that an operator may forbid.
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
			return fmt.Sprintf("policy.lockedFields %q is no annotation: write some of %s", name, strings.Join(lockable(), ", "))
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

// Gardener reports whether Gardener's Cluster resources are a source.
func (c *Config) Gardener() bool { return c != nil && c.file.Policy != nil && c.file.Policy.Gardener }

// ConfigMaps are the names that a pod may choose from.
func (c *Config) ConfigMaps() []string {
	if c != nil && c.file.Policy != nil && c.file.Policy.ConfigMaps != nil {
		return c.file.Policy.ConfigMaps
	}
	return []string{DefaultConfigMap}
}

// locked reports whether a pod may not use an annotation. Where there is no
// operator's file, the pod's author is the operator.
func (c *Config) locked(annotation string) bool {
	if c == nil {
		return false
	}
	if c.file.Policy != nil && c.file.Policy.LockedFields != nil {
		return slices.Contains(c.file.Policy.LockedFields, annotation)
	}
	return annotation == annotationProxyServer || annotation == annotationCASecret || annotation == annotationClientSecret
}

func (c *Config) seedCIDRs() []string {
	if c == nil || c.file.Policy == nil {
		return nil
	}
	return c.file.Policy.SeedCIDRs
}

// checkResources refuses quantities that are none. Whether the memory is enough is
// for checkValues.
func (c *Config) checkResources() string {
	if c.file.Sidecar == nil {
		return ""
	}
	for _, list := range []struct {
		name   string
		values map[string]string
	}{{"requests", c.file.Sidecar.Resources.Requests}, {"limits", c.file.Sidecar.Resources.Limits}} {
		for name, value := range list.values {
			field := fmt.Sprintf("sidecar.resources.%s.%s %q", list.name, name, value)
			if name != "cpu" && name != "memory" {
				return field + " is neither cpu nor memory"
			}
			if q, err := resource.ParseQuantity(value); err != nil || q.Sign() <= 0 {
				return field + " is not an amount: write one such as 10m or 512Mi"
			}
		}
	}
	return ""
}
