// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// setting is one flag and the field that it fills. The tables of settings are
// the single place that knows a flag's name, default and help.
type setting struct {
	name  string
	value pflag.Value
	usage string
}

// add registers settings; the fields hold the defaults at that time.
func add(fs *pflag.FlagSet, settings []setting) {
	for _, s := range settings {
		f := fs.VarPF(s.value, s.name, "", s.usage)
		if s.value.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

// args renders those settings that differ from the defaults.
func args(settings, defaults []setting) []string {
	var rendered []string
	for i, s := range settings {
		if value := s.value.String(); value != defaults[i].value.String() || isGivenEmpty(s.value) {
			rendered = append(rendered, "--"+s.name+"="+value)
		}
	}
	return rendered
}

// isGivenEmpty tells a list of one empty element, which is refused later, from
// no list at all: as text they are the same.
func isGivenEmpty(v pflag.Value) bool {
	list, ok := v.(*List)
	return ok && len(*list) > 0
}

// textValue is a string.
type textValue string

func (v *textValue) Set(s string) error { *v = textValue(s); return nil }
func (v *textValue) String() string     { return string(*v) }
func (v *textValue) Type() string       { return "text" }

// List is the value of a flag that is a list: comma-separated, repeated, or both. It
// takes whatever it is given; the empty elements of a stray comma are refused where the
// list is used, with the flag's own sentence.
type List []string

// Set implements pflag.Value.
func (v *List) Set(s string) error { *v = append(*v, strings.Split(s, ",")...); return nil }

// String implements pflag.Value.
func (v *List) String() string { return strings.Join(*v, ",") }

// Type implements pflag.Value.
func (v *List) Type() string { return "list" }

// Append implements pflag.SliceValue: elements that are apart already are not split.
func (v *List) Append(s string) error { *v = append(*v, s); return nil }

// Replace implements pflag.SliceValue.
func (v *List) Replace(values []string) error { *v = values; return nil }

// GetSlice implements pflag.SliceValue.
func (v *List) GetSlice() []string { return *v }

// numberValue is a whole number, wider than any port or uid, so that Config can
// refuse port 70000 with a sentence about ports.
type numberValue int64

func (v *numberValue) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return errors.New("is far out of range")
	}
	if err != nil {
		return errors.New("is not a whole number")
	}
	*v = numberValue(n)
	return nil
}
func (v *numberValue) String() string { return strconv.FormatInt(int64(*v), 10) }
func (v *numberValue) Type() string   { return "number" }

// durationValue is a time.Duration.
type durationValue time.Duration

func (v *durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("is not a duration: write a number and its unit, such as 8s or 2m")
	}
	*v = durationValue(d)
	return nil
}

// String is the shortest way to write it: 1m rather than 1m0s.
func (v *durationValue) String() string {
	s := time.Duration(*v).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
func (v *durationValue) Type() string { return "duration" }

// switchValue is a bool; the flag alone means true.
type switchValue bool

func (v *switchValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("is neither true nor false")
	}
	*v = switchValue(b)
	return nil
}
func (v *switchValue) String() string   { return strconv.FormatBool(bool(*v)) }
func (v *switchValue) Type() string     { return "bool" }
func (v *switchValue) IsBoolFlag() bool { return true }
