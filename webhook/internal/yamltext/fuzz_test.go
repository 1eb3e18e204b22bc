// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// FuzzEdit: no text makes Edit panic. A text that already has the wanted value stays
// unchanged. A kind of YAML that Edit does not know may get another value, which the
// caller must check.
func FuzzEdit(f *testing.F) {
	for _, text := range []string{
		"a: 1\n", "- a\n- - b\n", "? a\n: b\n? c\n", "a: &x [1, *x]\n", "{a, b: , [c: d], ? e : f}\n", "a: !!str\nb: !x {}\nc: &y\n",
		"a: |2+\n   x\n\n\nb: >-\n  y\n", "\"a\":\t'b' # c\r\n\r\n", "a: \"\\\n  b\\\"\"\n", "a: x\u0085  y\u2028z\n", "<<: [{a: 1}, {b: 2}]\nc: 3\n", "a:\n# x\n- b: 1\n  # y\n",
	} {
		for seed := range uint64(3) {
			f.Add([]byte(text), seed)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		d, err := parse(text)
		if err != nil || len(d.Root.Content) == 0 || len(text) > 1<<12 {
			return
		}
		random := rand.New(rand.NewPCG(seed, 2))
		want := changed(random, d.Value)
		edited, err := d.Edit(want)
		if err == nil && reflect.DeepEqual(want, d.Value) && string(edited.Text) != string(text) {
			t.Errorf("%q became %q, and should not have", text, edited.Text)
		}
	})
}
