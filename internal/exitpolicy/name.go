// SPDX-License-Identifier: Apache-2.0

package exitpolicy

import "strings"

// The longest name and label (RFC 1035 2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

// matchesName reports whether a destination's name matches a pattern. Here * is one label
// or more: the name of a Service has two before svc.cluster.local.
func matchesName(pattern, name string) bool {
	if pattern == "*" {
		return true
	}
	domain, wild := strings.CutPrefix(pattern, "*")
	if !wild {
		return pattern == name
	}
	labels, ok := strings.CutSuffix(name, domain)
	return ok && labels != ""
}

// checkPattern returns what is wrong with a pattern of names, or "".
func checkPattern(text string) string {
	name, wild := strings.CutPrefix(text, "*.")
	if text == "*" {
		return ""
	}
	switch {
	case strings.Contains(name, "*"):
		return "has * elsewhere than as its first label: write a name such as *.svc.cluster.local"
	case strings.HasSuffix(name, "."):
		return "ends with a dot: leave the dot out"
	case !IsName(strings.ToLower(name)) && !(wild && isLabels(strings.ToLower(name))):
		return "is no DNS name: write one such as prometheus.monitoring.svc.cluster.local or *.svc.cluster.local"
	}
	return ""
}

// IsName reports whether a text in lower case is a DNS name that can be resolved. It is
// not if its last label has only digits, or begins with 0x: some programs read 127.1 and
// 0x7f000001 as addresses.
func IsName(text string) bool {
	if !isLabels(text) {
		return false
	}
	last := text[strings.LastIndexByte(text, '.')+1:]
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x")
}

// isLabels reports whether a text in lower case has labels of letters, digits, hyphens
// and underscores, with dots between them.
func isLabels(text string) bool {
	if len(text) > maxName {
		return false
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
