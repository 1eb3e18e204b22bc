// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// followIPTables returns how the packet of these tests can end in a filter table.
func followIPTables(t *testing.T, rules ...string) []netfilter.Result {
	t.Helper()
	lines := []string{"-P OUTPUT ACCEPT"}
	for _, rule := range rules {
		lines = append(lines, "-A OUTPUT "+rule)
	}
	table, err := IPTables(netfilter.OriginNFT, false, "filter", map[string][]string{"OUTPUT": lines})
	if err != nil {
		t.Fatal(err)
	}
	return results(table)
}

// followNFT does so in a table of nftables with one chain. head is text of the table.
func followNFT(t *testing.T, head, expressions string) []netfilter.Result {
	t.Helper()
	const id = `"family": "inet", "table": "x"`
	text := `{"nftables": [{"table": {"family": "inet", "name": "x", "handle": 1}},
		{"chain": {` + id + `, "name": "o", "hook": "output", "type": "filter", "prio": 0, "policy": "accept", "handle": 1}},
		{"rule": {` + id + `, "chain": "o", "handle": 2, "expr": [` + expressions + `]}}]}`
	tables, _, err := NFT([]byte(text), "table inet x { # handle 1\n"+head+"\n\tchain o { # handle 1\n\t\trule # handle 2\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	return results(tables...)
}

func results(tables ...*netfilter.Table) []netfilter.Result {
	var all []netfilter.Result
	for _, o := range netfilter.Follow(&netfilter.Ruleset{Tables: tables}, island{}, followed()) {
		all = append(all, o.Result)
	}
	return all
}

// TestConditionsThatChangeNothingHideNoOutcome: many rules that only log, with conditions
// that the kernel alone can evaluate, stand behind one that may drop.
func TestConditionsThatChangeNothingHideNoOutcome(t *testing.T) {
	rules := []string{"-m set --match-set forbidden dst -j DROP"}
	for i := range 20 {
		rules = append(rules, fmt.Sprintf(`-m limit --limit %d/sec -j LOG --log-prefix "new"`, i+1))
	}
	want := []netfilter.Result{netfilter.Leaves, netfilter.Dropped}
	if got := followIPTables(t, rules...); !slices.Equal(got, want) {
		t.Errorf("the ways end as %q, want %q", got, want)
	}
}

// TestMoreWaysThanAreFollowedAreSaid: if not all ways were followed, no other outcome is the
// only one.
func TestMoreWaysThanAreFollowedAreSaid(t *testing.T) {
	rules := []string{"-m set --match-set forbidden dst -j DROP"}
	for i := range 20 {
		rules = append(rules, fmt.Sprintf("-m set --match-set s%d dst -j MARK --set-xmark %#x/0xffffffff", i, i+1))
	}
	if got := followIPTables(t, rules...); !slices.Contains(got, netfilter.Unpredictable) {
		t.Errorf("the ways end as %q, although most of them were not followed", got)
	}
	if got := followIPTables(t, rules[:4]...); slices.Contains(got, netfilter.Unpredictable) {
		t.Errorf("the ways end as %q, although all of them can be followed", got)
	}
}

// TestAQuotaIsACondition: a rule with `quota over 10 mbytes drop` drops only then.
func TestAQuotaIsACondition(t *testing.T) {
	for _, quota := range []string{`{"val": 10, "val_unit": "mbytes", "inv": true}`, `"q"`} {
		want := []netfilter.Result{netfilter.Leaves, netfilter.Dropped}
		if got := followNFT(t, "", `{"quota": `+quota+`}, {"drop": null}`); !slices.Equal(got, want) {
			t.Errorf("quota %s: the ways end as %q, want %q", quota, got, want)
		}
	}
}

// TestADormantTableDoesNothing: nft registers no hook of a table with the flag dormant.
func TestADormantTableDoesNothing(t *testing.T) {
	for head, want := range map[string]netfilter.Result{"": netfilter.Dropped, "\tflags dormant\n": netfilter.Leaves, "\tflags dormant,owner\n": netfilter.Leaves} {
		if got := followNFT(t, head, `{"drop": null}`); !slices.Equal(got, []netfilter.Result{want}) {
			t.Errorf("with %q the ways end as %q, want %q", head, got, want)
		}
	}
}
