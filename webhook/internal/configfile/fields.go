// SPDX-License-Identifier: Apache-2.0

package configfile

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

// Field is one setting of an InjectionConfig that several sources may set. It is made
// from the tags of type File.
type Field struct {
	Name       string // in the file, such as shoot.podCIDRs
	Flag       string // with its dashes; empty if no program has a flag for it
	Annotation string // without its prefix; empty if pods cannot set it
	Fallback   string // the value if no source sets it
	index      []int  // of the field in file
}

// Fields returns all fields, in the order of explanations. The caller must not change
// them.
func Fields() []Field { return fields() }

// fields finds the fields by reflection, once. It takes much of the time of a decision,
// and each pod needs them several times.
var fields = sync.OnceValue(func() []Field { return fieldsIn(reflect.TypeFor[File](), "", nil, flagsOfPrograms()) })

// flagsOfPrograms returns the flags of both programs.
func flagsOfPrograms() *pflag.FlagSet {
	flags := pflag.NewFlagSet("both", pflag.ContinueOnError)
	options.NewProxyClient().AddFlags(flags)
	own := pflag.NewFlagSet("init-redirect", pflag.ContinueOnError)
	options.NewInitRedirect().AddFlags(own)
	flags.AddFlagSet(own)
	return flags
}

// fallbackOf returns the value of a field if no source sets it. tag is the field's.
func fallbackOf(name string, tag reflect.StructTag, flags *pflag.FlagSet) string {
	fallback := tag.Get("default")
	switch {
	case name == "sidecar.healthPort":
		return strconv.Itoa(defaults.HealthPort)
	case fallback == "flag":
		return flags.Lookup(tag.Get("flag")).DefValue
	default:
		return fallback
	}
}

// fieldsIn returns the fields of a section, with the defaults of flags. It leaves out
// apiVersion, kind, inject and policy, which are not about what a pod gets.
func fieldsIn(section reflect.Type, prefix string, index []int, flags *pflag.FlagSet) []Field {
	var all []Field
	for i := range section.NumField() {
		f := section.Field(i)
		at := append(slices.Clip(index), i)
		name := prefix + f.Tag.Get("yaml")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case name == "apiVersion" || name == "kind" || name == Inject || name == "policy":
		case inner.Kind() == reflect.Struct:
			all = append(all, fieldsIn(inner, name+".", at, flags)...)
		default:
			one := Field{Name: name, Annotation: f.Tag.Get("annotation"), Fallback: fallbackOf(name, f.Tag, flags), index: at}
			if flag := f.Tag.Get("flag"); flag != "" {
				one.Flag = "--" + flag
			}
			all = append(all, one)
		}
	}
	return all
}

// valueIn returns the field's value in a file. If a section is missing, make creates
// it; without make ok is false.
func (f *Field) valueIn(c *File, make bool) (v reflect.Value, ok bool) {
	v = reflect.ValueOf(c).Elem()
	for _, i := range f.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() && !make {
				return v, false
			} else if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, true
}

// Of returns the field's values in a file, or nil if the file does not set it.
func (f *Field) Of(c *File) []string {
	v, ok := f.valueIn(c, false)
	if !ok {
		return nil
	}
	switch value := v.Interface().(type) {
	case string:
		if value == "" {
			return nil
		}
		return []string{value}
	case []string:
		return value
	case map[string]string:
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(value)) {
			pairs = append(pairs, key+"="+value[key])
		}
		return pairs
	default:
		panic(fmt.Sprintf("field %s has type %s, which no source can give", f.Name, v.Type()))
	}
}

// Set sets the field's values in a file.
func (f *Field) Set(c *File, values []string) {
	v, _ := f.valueIn(c, true)
	switch to := v.Addr().Interface().(type) {
	case *string:
		*to = strings.Join(values, ",")
	case *[]string:
		*to = values
	case *map[string]string:
		*to = map[string]string{}
		for _, pair := range values {
			key, value, _ := strings.Cut(pair, "=")
			(*to)[key] = value
		}
	default:
		panic(fmt.Sprintf("field %s has type %s, which no source can give", f.Name, v.Type()))
	}
}
