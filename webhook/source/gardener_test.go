// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/webhook"
)

func TestNetworkingThatCannotBeUsed(t *testing.T) {
	for _, text := range []string{
		``, `[]`, `{"spec":[]}`, `{"spec":{"shoot":"x"}}`,
		`{"spec":{"shoot":{"spec":{"networking":{"pods":["100.64.0.0/12"]}}}}}`,
		`{"spec":{"shoot":{"status":{"networking":{"pods":"100.64.0.0/12"}}}}}`,
	} {
		if n, err := Networking("shop", []byte(text)); n != nil || !isUnusable(err) {
			t.Errorf("%s: %+v, %v", text, n, err)
		}
	}
}

func isUnusable(err error) bool {
	_, ok := errors.AsType[*UnusableError](err)
	return ok
}

func TestNetworking(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       webhook.Networking
	}{
		{"nothing", `{}`, webhook.Networking{}},
		{"no shoot", `{"spec":{"shoot":null,"seed":{"spec":{"networks":{"pods":"10.0.0.0/8"}}}}}`, webhook.Networking{}},
		{"workerless", `{"spec":{"shoot":{"spec":{"networking":{"services":"100.104.0.0/13"}}}}}`, webhook.Networking{ServiceCIDRs: []string{"100.104.0.0/13"}}},
		{"other case", `{"spec":{"shoot":{"spec":{"networking":{"Services":"100.104.0.0/13"}}}}}`, webhook.Networking{}},
		{
			"dual stack", `{"spec":{"shoot":{
				"spec":{"networking":{"pods":"100.64.0.0/12","services":"100.104.0.0/13","nodes":"10.250.0.0/16","type":"calico"}},
				"status":{"networking":{"pods":["100.64.0.0/12","fd00:10::/48"],"services":["fd00:11::/108"],"nodes":["10.250.0.0/16","10.251.0.0/16"],"egressCIDRs":["192.0.2.1/32"]}}}}}`,
			webhook.Networking{
				PodCIDRs: []string{"100.64.0.0/12", "fd00:10::/48"}, ServiceCIDRs: []string{"100.104.0.0/13", "fd00:11::/108"},
				NodeCIDRs: []string{"10.250.0.0/16", "10.251.0.0/16"},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Source = "Cluster shoot--dev--a"
			got, err := Networking("shoot--dev--a", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Any Cluster is either read, or reported as unusable.
func FuzzNetworking(f *testing.F) {
	f.Add([]byte(`{"spec":{"shoot":{"spec":{"networking":{"pods":"100.64.0.0/12"}},"status":{"networking":{"pods":["fd00:10::/48"]}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := Networking("shop", data); (n == nil) != isUnusable(err) {
			t.Errorf("%+v, %v", n, err)
		}
	})
}
