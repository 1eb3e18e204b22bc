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

// findings are findings of many objects. Those that say the same are one.
type findings struct{ all []Finding }

// add adds a finding about an object.
func (f *findings) add(finding Finding, object string) {
	for i := range f.all {
		g := &f.all[i]
		if g.Check == finding.Check && g.Status == finding.Status && g.Message == finding.Message && g.Next == finding.Next {
			g.Objects = append(g.Objects, object)
			for _, c := range finding.Commands {
				if len(g.Commands) < maxCommands && !contains(g.Commands, c) {
					g.Commands = append(g.Commands, c)
				}
			}
			return
		}
	}
	finding.Objects = append(finding.Objects, object)
	f.all = append(f.all, finding)
}

// maxCommands is how many commands a finding of many objects has.
const maxCommands = 5

func contains(list []string, value string) bool {
	for _, v := range list {
		if v == value {
			return true
		}
	}
	return false
}

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
