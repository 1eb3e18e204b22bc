// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// The prefixes of environment variables.
const (
	// ProxyClientPrefix begins proxy-client's: PROXY_CLIENT_LISTEN_ADDRESS.
	ProxyClientPrefix = "PROXY_CLIENT"
	// InitRedirectPrefix begins init-redirect's: INIT_REDIRECT_PROXY_PORT.
	InitRedirectPrefix = "INIT_REDIRECT"
)

// variableAnnotation marks a flag whose value came from the environment.
const variableAnnotation = "shoot-proxy.io/variable"

// Variable returns the environment variable of a flag: prefix, underscore, and
// the flag's name in upper case with underscores for its dashes.
func Variable(prefix, flag string) string {
	return prefix + "_" + strings.ToUpper(strings.ReplaceAll(strings.TrimLeft(flag, "-"), "-", "_"))
}

// ApplyEnvironment sets every flag of fs that the command line left alone and
// for which lookup, usually os.LookupEnv, has a variable. An empty variable
// counts as unset, as templates often leave one behind. Call it after parsing,
// once. A value that does not parse is a [*UsageError] that names the variable.
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

// variableError says what is wrong with the value of a variable.
func variableError(variable, value string, err error) error {
	problem := err
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		problem = invalid.Unwrap()
	}
	return &UsageError{Flag: variable, Value: value, Problem: problem.Error(), Err: err}
}

// NameVariable adds the environment variable to a [*UsageError] about a flag
// that [ApplyEnvironment] set from one, so that nobody looks for the mistake in
// a command line. Every other error passes as it is.
func NameVariable(fs *pflag.FlagSet, err error) error {
	var usage *UsageError
	if !errors.As(err, &usage) {
		return err
	}
	f := fs.Lookup(strings.TrimPrefix(usage.Flag, "--"))
	if f == nil || len(f.Annotations[variableAnnotation]) == 0 {
		return err
	}
	named := *usage
	named.Problem = fmt.Sprintf("%s (set by the environment variable %s)", usage.Problem, f.Annotations[variableAnnotation][0])
	return &named
}
