// SPDX-License-Identifier: Apache-2.0

package exitpolicy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/strictyaml"
)

// The version and the kind of the policy file.
const (
	apiVersion = "config.shoot-proxy.io/v1alpha1"
	kind       = "ExitPolicy"
)

// The limits of a policy file. They are far above what people write, and keep the work
// for one connection small.
const (
	maxRules = 1000
	maxList  = 1000 // elements of a list of a rule
)

// file is the policy file as it is written.
type file struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Rules      []fileRule `yaml:"rules"`
}

// fileRule is a rule as it is written.
type fileRule struct {
	Clients []fileClient `yaml:"clients"`
	CIDRs   []string     `yaml:"cidrs"`
	Names   []string     `yaml:"names"`
	Ports   []string     `yaml:"ports"`
}

// fileClient is a selector of clients as it is written.
type fileClient struct {
	CommonName *string `yaml:"commonName"`
	DNSName    *string `yaml:"dnsName"`
	URI        *string `yaml:"uri"`
}

// Parse returns the policy that a file has, YAML or JSON. The text of an error is the end
// of a sentence that begins with the file's name. It says what to write instead.
func Parse(data []byte) (*Policy, error) {
	var f file
	if err := strictyaml.DecodeStated(data, kind, &f); err != nil {
		return nil, err
	}
	switch {
	case f.APIVersion != apiVersion:
		return nil, fmt.Errorf("has apiVersion %q: write %s", f.APIVersion, apiVersion)
	case f.Kind != kind:
		return nil, fmt.Errorf("has no kind: write kind: %s", kind)
	case f.Rules == nil:
		return nil, errors.New("has no rules: write rules, or rules: [] if no client may reach anything")
	case len(f.Rules) > maxRules:
		return nil, fmt.Errorf("has %d rules: write %d at most", len(f.Rules), maxRules)
	}
	p := &Policy{rules: make([]rule, len(f.Rules))}
	for i, written := range f.Rules {
		if err := p.rules[i].read(written, fmt.Sprintf("rules[%d]", i)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// read sets r to the rule that is written at a place of the file.
func (r *rule) read(written fileRule, place string) error {
	for _, list := range []struct {
		name    string
		length  int
		missing bool
		instead string
	}{
		{"clients", len(written.Clients), len(written.Clients) == 0, "write who may use the rule, such as [{commonName: prometheus}]"},
		{"cidrs", len(written.CIDRs), len(written.CIDRs) == 0, "write the addresses that may be reached, such as [100.64.0.0/12]"},
		{"names", len(written.Names), written.Names != nil && len(written.Names) == 0, "write names, or leave the field out if only addresses may be dialled"},
		{"ports", len(written.Ports), written.Ports != nil && len(written.Ports) == 0, "write ports, or leave the field out for all ports"},
	} {
		if list.missing {
			return fmt.Errorf("has nothing in %s.%s: %s", place, list.name, list.instead)
		}
		if list.length > maxList {
			return fmt.Errorf("has %d elements in %s.%s: write %d at most", list.length, place, list.name, maxList)
		}
	}
	for i, c := range written.Clients {
		s, err := selectorOf(c, fmt.Sprintf("%s.clients[%d]", place, i))
		if err != nil {
			return err
		}
		r.clients = append(r.clients, s)
	}
	for i, text := range written.CIDRs {
		prefix, problem := parseCIDR(text)
		if problem != "" {
			return fmt.Errorf("has %s.cidrs[%d] %q, which %s", place, i, text, problem)
		}
		r.cidrs = append(r.cidrs, prefix)
	}
	for i, text := range written.Names {
		if problem := checkPattern(text); problem != "" {
			return fmt.Errorf("has %s.names[%d] %q, which %s", place, i, text, problem)
		}
		r.names = append(r.names, strings.ToLower(text))
	}
	for i, text := range written.Ports {
		ports, problem := parsePorts(text)
		if problem != "" {
			return fmt.Errorf("has %s.ports[%d] %q, which %s", place, i, text, problem)
		}
		r.ports = append(r.ports, ports)
	}
	return nil
}

// parseCIDR reads a CIDR. problem is the end of a sentence about it, or empty.
func parseCIDR(text string) (prefix netip.Prefix, problem string) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return prefix, fmt.Sprintf("has no length: write %s", netip.PrefixFrom(a, a.BitLen()))
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return prefix, "is no CIDR: write an address and a length, such as 100.64.0.0/12 or fd00:10::/48"
	case prefix.Addr().Is4In6() && prefix.Bits() >= 96:
		return prefix, fmt.Sprintf("is IPv4 written as IPv6: write %s", netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96).Masked())
	case prefix != prefix.Masked():
		return prefix, fmt.Sprintf("has bits behind its length: write %s", prefix.Masked())
	default:
		return prefix, ""
	}
}

// parsePorts reads a port, or a range of ports. problem is the end of a sentence about it, or
// empty.
func parsePorts(text string) (ports portRange, problem string) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	switch {
	case err1 != nil || err2 != nil || a == 0 || b == 0:
		return ports, "is no port: write a number from 1 to 65535, or a range such as 8000-8999"
	case a > b:
		return ports, fmt.Sprintf("is backwards: write %d-%d", b, a)
	default:
		return portRange{uint16(a), uint16(b)}, ""
	}
}
