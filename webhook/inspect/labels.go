// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// labelAdded returns when the pod got the label from another manager than the one that
// made the pod, as far as managedFields say. later is false if it is not known that it
// did.
func labelAdded(p *corev1.Pod) (at time.Time, later bool) {
	for _, m := range p.ManagedFields {
		if m.Time == nil || m.FieldsV1 == nil || m.Subresource != "" {
			continue
		}
		var fields struct {
			Metadata struct {
				Labels map[string]json.RawMessage `json:"f:labels"`
			} `json:"f:metadata"`
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		if _, ok := fields.Metadata.Labels["f:"+webhook.Label]; ok {
			return m.Time.Time, len(fields.Spec) == 0
		}
	}
	return time.Time{}, false
}

// minute returns a time for people.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// some returns a list of the commands that are not empty.
func some(commands ...string) []string {
	var all []string
	for _, c := range commands {
		if c != "" {
			all = append(all, c)
		}
	}
	return all
}
