// SPDX-License-Identifier: Apache-2.0

package exitpolicy

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

// Identity is what a client's certificate says of the client. A selector that matches any
// part of it selects the client.
type Identity struct {
	CommonName string
	DNSNames   []string // in lower case
	URIs       []string
}

// IdentityOf returns the identity in a certificate that was verified. It leaves out DNS
// names that are patterns, because they are no client's name.
func IdentityOf(certificate *x509.Certificate) Identity {
	id := Identity{CommonName: certificate.Subject.CommonName}
	for _, name := range certificate.DNSNames {
		if !strings.Contains(name, "*") {
			id.DNSNames = append(id.DNSNames, strings.ToLower(strings.TrimSuffix(name, ".")))
		}
	}
	for _, uri := range certificate.URIs {
		id.URIs = append(id.URIs, uri.String())
	}
	return id
}

// String returns the part of the identity that says most: a URI, a DNS name, or the
// common name.
func (id Identity) String() string {
	switch {
	case len(id.URIs) > 0:
		return id.URIs[0]
	case len(id.DNSNames) > 0:
		return id.DNSNames[0]
	default:
		return id.CommonName
	}
}

// Selectors returns the whole identity in the words of a policy, by which a rule can select
// the client.
func (id Identity) Selectors() string {
	var all []string
	if id.CommonName != "" {
		all = append(all, fmt.Sprintf("commonName %q", id.CommonName))
	}
	for _, name := range id.DNSNames {
		all = append(all, fmt.Sprintf("dnsName %q", name))
	}
	for _, uri := range id.URIs {
		all = append(all, fmt.Sprintf("uri %q", uri))
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// selector selects clients by one part of their identity. One of its fields is set.
type selector struct {
	commonName string
	dnsName    string // in lower case; may begin with *.
	uri        string // may end with /* or, without a host, with :*
}

func (s selector) matches(id Identity) bool {
	switch {
	case s.commonName != "":
		return s.commonName == id.CommonName
	case s.dnsName != "":
		for _, name := range id.DNSNames {
			if matchesHost(s.dnsName, name) {
				return true
			}
		}
	case s.uri != "":
		for _, uri := range id.URIs {
			if matchesURI(s.uri, uri) {
				return true
			}
		}
	}
	return false
}

// matchesHost reports whether a client's DNS name matches a pattern. As in certificates, *
// is one label (RFC 9525 6.3).
func matchesHost(pattern, name string) bool {
	domain, wild := strings.CutPrefix(pattern, "*")
	if !wild {
		return pattern == name
	}
	label, ok := strings.CutSuffix(name, domain)
	return ok && label != "" && !strings.Contains(label, ".")
}

// matchesURI reports whether a URI matches a pattern. A pattern does not match a URI that
// could mean another path to another reader: one with dot segments, escapes, a query or a
// fragment.
func matchesURI(pattern, uri string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		return pattern == uri
	}
	rest, ok := strings.CutPrefix(uri, prefix)
	if !ok || rest == "" || strings.ContainsAny(rest, "%?#\\") {
		return false
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// selectorOf reads a selector that is written at a place of the file.
func selectorOf(written fileClient, place string) (selector, error) {
	var s selector
	var given []string
	for _, field := range []struct {
		name  string
		value *string
		to    *string
		check func(string) string
	}{
		{"commonName", written.CommonName, &s.commonName, checkCommonName},
		{"dnsName", written.DNSName, &s.dnsName, checkHostPattern},
		{"uri", written.URI, &s.uri, checkURIPattern},
	} {
		if field.value == nil {
			continue
		}
		given = append(given, field.name)
		if *field.value == "" {
			return s, fmt.Errorf("has an empty %s.%s: write what the client's certificate has", place, field.name)
		}
		if problem := field.check(*field.value); problem != "" {
			return s, fmt.Errorf("has %s.%s %q, which %s", place, field.name, *field.value, problem)
		}
		*field.to = *field.value
	}
	switch len(given) {
	case 0:
		return s, fmt.Errorf("has an empty selector in %s: write commonName, dnsName or uri", place)
	case 1:
		s.dnsName = strings.ToLower(s.dnsName)
		return s, nil
	default:
		return s, fmt.Errorf("has %s in %s: write a selector for each, since one of them is enough", strings.Join(given, " and "), place)
	}
}

func checkCommonName(text string) string {
	if strings.Contains(text, "*") {
		return "is no pattern, as only dnsName and uri can be: write the whole common name"
	}
	return ""
}

func checkHostPattern(text string) string {
	if text == "*" {
		return "selects everything: write a domain behind it, such as *.monitoring.seed"
	}
	return checkPattern(text)
}

func checkURIPattern(text string) string {
	prefix, _ := strings.CutSuffix(text, "*")
	if strings.Contains(prefix, "*") {
		return "has * inside: write it once, at the end"
	}
	u, err := url.Parse(prefix)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" {
		return "is no URI with a scheme and a host: write one such as spiffe://seed/ns/monitoring/*"
	}
	if text != prefix && u.Path == "" && u.Opaque == "" {
		return "has * in its host: write it behind a / such as spiffe://seed/*"
	}
	if text != prefix && !strings.HasSuffix(prefix, "/") && (u.Opaque == "" || !strings.HasSuffix(prefix, ":")) {
		return "has * behind a part of a name, which other names begin with too: write it behind a / such as spiffe://seed/ns/monitoring/* or behind a : such as urn:seed:*"
	}
	return ""
}
