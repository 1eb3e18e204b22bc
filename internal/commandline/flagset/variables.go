// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/spelling"
)

// Variables are the environment of a process, as os.Environ returns it.
type Variables []string

// Lookup returns the value of a variable, as os.LookupEnv does.
func (v Variables) Lookup(name string) (value string, ok bool) {
	for _, one := range v {
		if found, value, _ := strings.Cut(one, "="); found == name {
			return value, true
		}
	}
	return "", false
}

// CheckVariables refuses a variable that has program's prefix and belongs to none of
// its flags, as an unknown flag is refused: otherwise its value would be ignored without
// a message. command is the one whose help shows the flags. An empty variable counts as
// unset. The kubelet's variables about a Service whose name begins like the program's are
// not refused.
func CheckVariables(program, command, prefix string, flags []string, v Variables) error {
	var known []string
	for _, flag := range flags {
		known = append(known, Variable("", flag)[1:])
	}
	for _, one := range slices.Sorted(slices.Values(v)) {
		name, value, _ := strings.Cut(one, "=")
		word, ours := strings.CutPrefix(name, prefix+"_")
		if !ours || value == "" || slices.Contains(known, word) || isServiceLink(name, v.Lookup) {
			continue
		}
		next := fmt.Sprintf("each is named after a flag, and '%s --help' shows those", command)
		if meant := spelling.Nearest(word, known); meant != "" {
			next = "did you mean " + Variable(prefix, meant) + "?"
		}
		return &UsageError{Flag: name, Problem: fmt.Sprintf("is not a variable of %s: %s", program, next)}
	}
	return nil
}

// linkSuffix matches the end of the variables that the kubelet gives each container
// about a Service: the part behind the Service's name and an underscore (kubelet,
// pkg/kubelet/envvars/envvars.go).
var linkSuffix = regexp.MustCompile(`^(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// isServiceLink reports whether a variable is about a Service. The kubelet always gives
// SERVICE_HOST too, which tells PORT from the end of a flag's name.
func isServiceLink(variable string, lookup func(string) (string, bool)) bool {
	for i := range len(variable) {
		if variable[i] != '_' || !linkSuffix.MatchString(variable[i+1:]) {
			continue
		}
		if _, ok := lookup(variable[:i] + "_SERVICE_HOST"); ok {
			return true
		}
	}
	return false
}
