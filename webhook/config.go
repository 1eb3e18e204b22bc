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
	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// The names in the configuration's format.
const (
	configAPIVersion = "config.shoot-proxy.io/v1alpha1"
	configKind       = "InjectionConfig"
)

// Config is one source of configuration: the operator's file, or a namespace's
// ConfigMap. Make one with [ParseConfig] or [ParseNamespaceConfig].
type Config struct {
	file   configfile.File
	source string
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
	if word == configfile.Inject {
		return word
	}
	for _, f := range configfile.Fields() {
		if f.Name == word {
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
	for _, f := range configfile.Fields() {
		if values := f.Of(&c.file); values != nil && len(values) == 0 {
			return f.Name + " is an empty list: leave it out, or write something into it"
		}
	}
	return ""
}

// lockable returns the annotations that an operator may forbid.
func lockable() []string {
	names := []string{annotationConfig}
	for _, f := range configfile.Fields() {
		if f.Annotation != "" {
			names = append(names, f.Annotation)
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
