// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Flag is one flag and the variable that it fills. A table of Flags is the single
// place that knows a flag's name, default and help.
type Flag struct {
	// Name is without dashes.
	Name string
	// Value fills the variable.
	Value pflag.Value
	// Usage is a line of the help.
	Usage string
}

// Text returns a flag for a string.
func Text(name string, to *string, usage string) Flag {
	return Flag{Name: name, Value: (*textValue)(to), Usage: usage}
}

// Filled returns a flag for a string that may be left out but not be empty: --netns=$PATH
// with PATH unset is a mistake.
func Filled(name string, to *string, usage string) Flag {
	return Flag{Name: name, Value: FilledValue(to), Usage: usage}
}

// FilledValue returns the value of a [Filled] for a flag that is registered in another way,
// such as with a short form.
func FilledValue(to *string) pflag.Value { return (*filledValue)(to) }

// List returns a flag for a list: comma-separated, repeated, or both. It accepts empty
// elements, as a stray comma leaves them. The user of the list refuses those with a
// sentence about the flag.
func List(name string, to *[]string, usage string) Flag {
	return Flag{Name: name, Value: ListValue(to), Usage: usage}
}

// ListValue returns the value of a [List] for a flag that is registered in another way,
// such as with a short form.
func ListValue(to *[]string) pflag.Value { return (*listValue)(to) }

// Number returns a flag for a whole number. It is wider than any port or uid, so that
// port 70000 can be refused with a sentence about ports.
func Number(name string, to *int64, usage string) Flag {
	return Flag{Name: name, Value: (*numberValue)(to), Usage: usage}
}

// Duration returns a flag for a duration.
func Duration(name string, to *time.Duration, usage string) Flag {
	return Flag{Name: name, Value: (*durationValue)(to), Usage: usage}
}

// Switch returns a flag for a bool; the flag alone means true.
func Switch(name string, to *bool, usage string) Flag {
	return Flag{Name: name, Value: (*switchValue)(to), Usage: usage}
}

// Size returns a flag for a number of bytes.
func Size(name string, to *int64, usage string) Flag {
	return Flag{Name: name, Value: (*sizeValue)(to), Usage: usage}
}

// Add registers flags on fs. The values that the variables have at that time are
// the defaults.
func Add(fs *pflag.FlagSet, flags []Flag) {
	for _, f := range flags {
		added := fs.VarPF(f.Value, f.Name, "", f.Usage)
		if f.Value.Type() == "bool" {
			added.NoOptDefVal = "true"
		}
	}
}

// Args renders flags whose value differs from that of the same flag in defaults.
func Args(flags, defaults []Flag) []string {
	var args []string
	for i, f := range flags {
		if value := f.Value.String(); value != defaults[i].Value.String() || isListOfNothing(f.Value) {
			args = append(args, "--"+f.Name+"="+value)
		}
	}
	return args
}

// isListOfNothing reports whether v is a list of one empty element, which is refused
// later. Its text is that of an empty list.
func isListOfNothing(v pflag.Value) bool {
	list, ok := v.(*listValue)
	return ok && len(*list) > 0
}

type textValue string

func (v *textValue) Set(s string) error { *v = textValue(s); return nil }
func (v *textValue) String() string     { return string(*v) }
func (v *textValue) Type() string       { return "text" }

// errEmpty is the error of a value that says nothing.
var errEmpty = errors.New("is empty: write a value, or leave the flag out")

type filledValue string

func (v *filledValue) Set(s string) error {
	if s == "" {
		return errEmpty
	}
	*v = filledValue(s)
	return nil
}
func (v *filledValue) String() string { return string(*v) }
func (v *filledValue) Type() string   { return "string" }

type listValue []string

func (v *listValue) Set(s string) error { *v = append(*v, strings.Split(s, ",")...); return nil }
func (v *listValue) String() string     { return strings.Join(*v, ",") }
func (v *listValue) Type() string       { return "list" }

// Append implements pflag.SliceValue. It splits no element.
func (v *listValue) Append(s string) error { *v = append(*v, s); return nil }

// Replace implements pflag.SliceValue.
func (v *listValue) Replace(values []string) error { *v = values; return nil }

// GetSlice implements pflag.SliceValue.
func (v *listValue) GetSlice() []string { return *v }

type numberValue int64

func (v *numberValue) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return errors.New("is far out of range: write a smaller number")
	}
	if err != nil {
		return errors.New("is not a whole number: write it in digits, without a unit")
	}
	*v = numberValue(n)
	return nil
}
func (v *numberValue) String() string { return strconv.FormatInt(int64(*v), 10) }
func (v *numberValue) Type() string   { return "number" }

type durationValue time.Duration

func (v *durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("is not a duration: write a number and its unit, such as 8s or 2m")
	}
	*v = durationValue(d)
	return nil
}

// String returns the shortest form: 1m rather than 1m0s.
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

type switchValue bool

func (v *switchValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("is neither true nor false: write one of the two")
	}
	*v = switchValue(b)
	return nil
}
func (v *switchValue) String() string   { return strconv.FormatBool(bool(*v)) }
func (v *switchValue) Type() string     { return "bool" }
func (v *switchValue) IsBoolFlag() bool { return true }
