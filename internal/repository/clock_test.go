// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"go/ast"
	"slices"
	"testing"
)

// wallClock lists the files that may use the wall clock, and the reason. Measuring a
// duration is never a reason, because setting the clock would change it.
var wallClock = map[string]string{
	"internal/probe/check.go":                      "a deadline that has passed",
	"internal/proxy/watch.go":                      "a deadline that has passed",
	"internal/exitserver/metrics.go":               "when a certificate expires",
	"internal/dialer/metrics.go":                   "when a certificate expires",
	"pkg/redirect/internal/conntrack/conntrack.go": "the kernel's record of when a connection began, for people",
	"webhook/serve/metrics.go":                     "when a certificate expires",
}

// The result of time.Now has a monotonic reading, and durations are computed from that.
// A number, another location or a calendar loses it.
func TestDurationsAreMonotonic(t *testing.T) {
	used := map[string]bool{}
	for _, file := range sources(t) {
		if file.isTest() || under(file.path, "test/") || file.dir() == "internal/clocktest" {
			continue
		}
		formatted := map[ast.Node]bool{} // calls whose result is only shown
		ast.Inspect(file.ast, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if selector, ok := call.Fun.(*ast.SelectorExpr); ok && selector.Sel.Name == "Format" {
					formatted[selector.X] = true
				}
			}
			name := losesMonotonic(node)
			switch {
			case name == "", formatted[node]:
			case wallClock[file.path] != "":
				used[file.path] = true
			default:
				t.Errorf("%s:%d: %s leaves the monotonic clock: keep the time.Time, or say in this test why the wall clock is meant", file.path, file.line(node.Pos()), name)
			}
			return true
		})
	}
	for path := range wallClock {
		if !used[path] {
			t.Errorf("%s does not use the wall clock: take it off the list", path)
		}
	}
}

// losesMonotonic returns the name of a function or method of package time that node
// calls, if its result has no monotonic reading.
func losesMonotonic(node ast.Node) string {
	call, ok := node.(*ast.CallExpr)
	if !ok {
		return ""
	}
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	name, arguments := selector.Sel.Name, len(call.Args)
	pkg, _ := selector.X.(*ast.Ident)
	ofTime := pkg != nil && pkg.Name == "time"
	switch {
	case ofTime && slices.Contains([]string{"Unix", "UnixMilli", "UnixMicro", "Date"}, name):
		return "time." + name
	case ofTime:
		return ""
	case arguments == 0 && slices.Contains([]string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "UTC", "Local"}, name),
		arguments == 3 && name == "AddDate":
		return name
	case arguments == 1 && name == "Round":
		if zero, ok := call.Args[0].(*ast.BasicLit); ok && zero.Value == "0" {
			return "Round(0)"
		}
	}
	return ""
}
