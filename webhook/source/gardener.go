// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// Clusters is the resource of Gardener's Clusters. There is one for each shoot, named
// like the namespace of its control plane (gardener/gardener,
// pkg/apis/extensions/v1alpha1/types_cluster.go).
var Clusters = schema.GroupVersionResource{Group: "extensions.gardener.cloud", Version: "v1alpha1", Resource: "clusters"}

// cluster is the part of a Cluster that is used: the networks of its Shoot.
type cluster struct {
	Spec struct {
		Shoot struct {
			Spec struct {
				Networking struct {
					Pods     string `json:"pods"`
					Services string `json:"services"`
					Nodes    string `json:"nodes"`
				} `json:"networking"`
			} `json:"spec"`
			// Status has all ranges if there are several: for a dual stack, or if the
			// nodes got more ranges.
			Status struct {
				Networking struct {
					Pods     []string `json:"pods"`
					Services []string `json:"services"`
					Nodes    []string `json:"nodes"`
				} `json:"networking"`
			} `json:"status"`
		} `json:"shoot"`
	} `json:"spec"`
}

// Networking reads the Cluster with a name. Its error is an [*UnusableError].
func Networking(name string, data []byte) (*webhook.Networking, error) {
	var c cluster
	if err := json.Unmarshal(data, &c); err != nil {
		sentence := fmt.Sprintf("Gardener's Cluster %q cannot be used: its shoot's networking is not as it should be", name)
		return nil, &UnusableError{Sentence: sentence, Detail: fmt.Sprintf("%s: %v", sentence, err)}
	}
	spec, status := c.Spec.Shoot.Spec.Networking, c.Spec.Shoot.Status.Networking
	return &webhook.Networking{
		Source:       "Cluster " + name,
		PodCIDRs:     unique(spec.Pods, status.Pods),
		ServiceCIDRs: unique(spec.Services, status.Services),
		NodeCIDRs:    unique(spec.Nodes, status.Nodes),
	}, nil
}

// unique returns first and rest, without duplicates and empty values.
func unique(first string, rest []string) []string {
	var all []string
	for _, value := range append([]string{first}, rest...) {
		if value != "" && !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	return all
}
