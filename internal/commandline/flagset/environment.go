// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// variableAnnotation marks a flag whose value came from the environment.
const variableAnnotation = "shoot-proxy.io/variable"

// Variable returns the environment variable of a flag: prefix, underscore, and
// the flag's name in upper case with underscores for its dashes.
func Variable(prefix, flag string) string {
	return prefix + "_" + strings.ToUpper(strings.ReplaceAll(strings.TrimLeft(flag, "-"), "-", "_"))
}

// ApplyEnvironment sets each flag of fs that the command line did not set and
// for which lookup, usually os.LookupEnv, has a variable. An empty variable
// counts as unset, since templates often leave one behind. Call it once, after
// parsing. If a value does not parse, it returns a [*UsageError] that names the
// variable.
func ApplyEnvironment(fs *pflag.FlagSet, prefix string, lookup func(string) (string, bool)) error {
	var first error
	fs.VisitAll(func(f *pflag.Flag) {
		if first != nil || f.Changed || f.Name == "help" {
			return
		}
		variable := Variable(prefix, f.Name)
		value, ok := lookup(variable)
		if !ok || value == "" || strings.Contains(value, "://") && isServiceLink(variable, lookup) {
			return // a Service init-redirect-proxy has INIT_REDIRECT_PROXY_PORT=tcp://…
		}
		if err := fs.Set(f.Name, value); err != nil {
			first = variableError(variable, value, err)
			return
		}
		first = fs.SetAnnotation(f.Name, variableAnnotation, []string{variable})
	})
	return first
}

// Origin reports whether f was set, and the environment variable that has set it. The
// variable is empty if the command line has.
func Origin(f *pflag.Flag) (set bool, variable string) {
	if names := f.Annotations[variableAnnotation]; len(names) > 0 {
		return true, names[0]
	}
	return f.Changed, ""
}

// variableError says what is wrong with the value of a variable.
func variableError(variable, value string, err error) error {
	wrong := err
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		wrong = invalid.Unwrap()
	}
	return &UsageError{Flag: variable, Value: value, Problem: wrong.Error(), Err: err}
}

// NameVariable adds to a [*UsageError] about a flag what only fs knows. If
// [ApplyEnvironment] set the flag, it adds the environment variable: without it the user
// would look for the mistake in the command line. If the command line gave the empty text,
// it says so. Other errors are returned unchanged.
func NameVariable(fs *pflag.FlagSet, err error) error {
	var usage *UsageError
	if !errors.As(err, &usage) {
		return err
	}
	f := fs.Lookup(strings.TrimPrefix(usage.Flag, "--"))
	if f == nil {
		return err
	}
	named := *usage
	if len(f.Annotations[variableAnnotation]) == 0 {
		if usage.Value != "" || !f.Changed || f.Value.String() != "" {
			return err
		}
		named.Empty = true
		return &named
	}
	named.Problem = fmt.Sprintf("%s (set by the environment variable %s)", usage.Problem, f.Annotations[variableAnnotation][0])
	return &named
}
