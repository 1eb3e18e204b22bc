// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// TestOneWrongRuleIsOneDifference: one fault is told once, also if many rules follow the wrong
// one.
func TestOneWrongRuleIsOneDifference(t *testing.T) {
	var shoot []string
	for i := range 300 {
		shoot = append(shoot, fmt.Sprintf("10.%d.%d.0/24", i/100, i%100*2))
	}
	rules, err := Build(configFor(shoot...))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(rules.Families[0].Chains, func(c Chain) bool { return c.Name == ChainOutput })
	chain := rules.Families[0].Chains[i]
	lines := func() (all []string) {
		for _, r := range chain.Rules {
			all = append(all, "-A "+chain.Name+" "+r.String())
		}
		return all
	}
	for name, tt := range map[string]struct {
		stands []string
		want   string
	}{
		"missing":          {slices.Delete(lines(), 9, 10), "rule 10 is missing: " + chain.Rules[9].String()},
		"last one missing": {slices.Delete(lines(), len(chain.Rules)-1, len(chain.Rules)), fmt.Sprintf("rule %d is missing: ", len(chain.Rules))},
		"added":            {slices.Insert(lines(), 9, "-A X -j ACCEPT"), "rule 10 is not ours: -j ACCEPT"},
		"twice":            {slices.Insert(lines(), 9, lines()[9]), "rule 11 is not ours: " + chain.Rules[9].String()},
		"another":          {slices.Replace(lines(), 9, 10, "-A X -j ACCEPT"), `rule 10 is "-j ACCEPT", and should be `},
	} {
		have, err := rule.ParseChain(tt.stands)
		if err != nil {
			t.Fatal(err)
		}
		s := &state{chains: map[chainID][]rule.Listed{{chain.Table, chain.Name}: have}}
		if got := s.chainDifferences(chain); len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
			t.Errorf("%s: %d differences, %.300q, want only %q", name, len(got), got, tt.want)
		}
	}
}

// TestVerifyErrorIsBounded: the error has to fit into a log line and into a container's
// termination message.
func TestVerifyErrorIsBounded(t *testing.T) {
	problems := slices.Repeat([]string{"a rule is missing"}, 500)
	err := &VerifyError{Problems: problems}
	if text := err.Error(); len(text) > 1000 || !strings.HasSuffix(text, "; and 492 more") {
		t.Errorf("%d bytes: %.1500q", len(text), text)
	}
	if len(err.Problems) != 500 || err.Problems[8] != problems[8] {
		t.Error("to show the error changed its list")
	}
	// For example in the network namespace of the node.
	const advice = "redirect.Apply, with the same Config"
	if text := (&VerifyError{Problems: []string{nothingInstalled}}).Error(); strings.Contains(text, advice) || !strings.Contains(err.Error(), advice) {
		t.Errorf("only if rules stand it should be advised to apply: %s; %.200s", text, err)
	}
}
