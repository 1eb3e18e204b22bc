// SPDX-License-Identifier: Apache-2.0

// Package proxystatus reads the field Proxy-Status (RFC 9209), in which proxies say why
// they did not serve a request.
//
//	s := proxystatus.Parse(header.Values("Proxy-Status"))
//	if s.Error == "connection_refused" { … }
//
// The field is a list of RFC 9651. As that RFC requires, a field of which any part is
// malformed counts as absent.
package proxystatus

import "strings"

const (
	// maxField is how many bytes of the field are read. A longer one counts as absent.
	maxField = 8 << 10
	// maxMembers and maxParameters bound the list, and the parameters of one member.
	maxMembers    = 16
	maxParameters = 32
)

// Status is what the proxies have said.
type Status struct {
	// Proxy is the name of the proxy that has met the error.
	Proxy string
	// Error is the type of the error (RFC 9209, section 2.3). It is empty if no proxy has
	// met one.
	Error string
	// Details are that proxy's words for people. They are printable ASCII.
	Details string
}

// Parse returns what the values of the field say. If several proxies have met an error,
// it returns that of the proxy next to the target, which is the cause of the others.
func Parse(values []string) Status {
	size := 0
	for _, v := range values {
		size += len(v) + len(", ")
	}
	if size > maxField {
		return Status{}
	}
	p := parser{rest: strings.Join(values, ", ")}
	var found Status
	p.skip(" ")
	for n := 0; p.rest != ""; n++ {
		member, ok := p.member()
		if !ok || n == maxMembers {
			return Status{}
		}
		if found.Error == "" && member.Error != "" {
			found = member
		}
		p.skip(" \t")
		if p.rest == "" {
			break
		}
		if !p.take(',') {
			return Status{}
		}
		p.skip(" \t")
		if p.rest == "" {
			return Status{} // RFC 9651, section 4.2.1: no trailing comma
		}
	}
	return found
}

// member reads one member of the list, which names a proxy.
func (p *parser) member() (s Status, ok bool) {
	name, ok := p.bareItem()
	if !ok || name.kind != token && name.kind != text {
		return s, false
	}
	s.Proxy = name.value
	for n := 0; p.take(';'); n++ {
		p.skip(" ")
		key, ok := p.key()
		if !ok || n == maxParameters {
			return s, false
		}
		value := item{kind: boolean, value: "1"}
		if p.take('=') {
			if value, ok = p.bareItem(); !ok {
				return s, false
			}
		}
		// The last of several parameters with one key counts (RFC 9651, section 4.2.3.2).
		switch {
		case key == "error" && value.kind == token:
			s.Error = value.value
		case key == "details" && value.kind == text:
			s.Details = value.value
		}
	}
	return s, true
}
