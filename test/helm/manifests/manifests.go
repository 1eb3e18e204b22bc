// SPDX-License-Identifier: Apache-2.0

// Package manifests makes the manifests of deploy, for kubectl, from what helm renders.
// It never runs helm:
//
//	webhook, config, err := manifests.Split(rendered)
package manifests

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

const header = `# SPDX-License-Identifier: Apache-2.0
#
# Made from charts/proxy-client by 'make manifests'. Change it there.
`

// Split returns webhook.yaml and config.yaml: all objects of the rendered chart except
// the ConfigMap, and the configuration in it. Kustomize makes the ConfigMap from that.
func Split(rendered string) (webhook, config string, err error) {
	var objects strings.Builder
	for document := range strings.SplitSeq(rendered, "\n---\n") {
		if strings.Contains(document, "\nkind: ConfigMap\n") {
			if config != "" {
				return "", "", errors.New("the chart renders more than one ConfigMap")
			}
			if config, err = configuration(document); err != nil {
				return "", "", err
			}
			continue
		}
		objects.WriteString("---\n")
		objects.WriteString(WithoutHelm(strings.TrimPrefix(strings.TrimSpace(document), "---\n")))
	}
	if config == "" {
		return "", "", errors.New("the chart renders no ConfigMap")
	}
	return header + objects.String(), header + config, nil
}

// configuration returns the InjectionConfig in a ConfigMap.
func configuration(document string) (string, error) {
	var object struct {
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal([]byte(document+"\n"), &object); err != nil {
		return "", fmt.Errorf("read the ConfigMap that the chart renders: %w", err)
	}
	config, ok := object.Data["config.yaml"]
	if !ok {
		return "", errors.New("the ConfigMap that the chart renders has no config.yaml")
	}
	return config, nil
}

// WithoutHelm removes the lines that only helm uses. It also removes those that would be
// wrong once a person has changed config.yaml.
func WithoutHelm(rendered string) string {
	var rest strings.Builder
	for line := range strings.Lines(strings.TrimSuffix(rendered, "\n") + "\n") {
		if !helmsOwn(line) {
			rest.WriteString(line)
		}
	}
	return rest.String()
}

func helmsOwn(line string) bool {
	for _, prefix := range []string{"helm.sh/chart:", "app.kubernetes.io/managed-by:", "# Source:", "checksum/config:", "# A changed configuration starts new pods."} {
		if strings.HasPrefix(strings.TrimSpace(line), prefix) {
			return true
		}
	}
	return false
}
