// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/status"
)

// maxRedirects is how many probes of CIDRs a status has. Those that failed come first.
const maxRedirects = 64

// redirectResults has the last result of each probe of the redirect.
type redirectResults struct {
	mu      sync.Mutex
	results []status.Redirect
}

// redirectOf returns the description of a probe that was not sent yet.
func redirectOf(set *cidr.Set, target netip.AddrPort, inside bool) status.Redirect {
	r := status.Redirect{Target: target.String(), Family: "IPv4"}
	if target.Addr().Is6() {
		r.Family = "IPv6"
	}
	if entry, ok := set.Covering(target.Addr()); ok && inside {
		r.CIDR = entry.Prefix.String()
	}
	return r
}

// add records the result of a probe at now.
func (r *redirectResults) add(now time.Time, is status.Redirect, err error) {
	is.OK, is.Checked = err == nil, now
	if err != nil {
		is.Error = err.Error()
	}
	if failed, ok := errors.AsType[*probe.Error](err); ok {
		is.Error, is.Next = failed.Err.Error(), failed.Cause
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := slices.IndexFunc(r.results, func(old status.Redirect) bool { return old.Target == is.Target })
	if at < 0 {
		r.results = append(r.results, is)
		return
	}
	r.results[at] = is
}

// list returns the results: families first, and then CIDRs, those that failed first. If
// the probe of a family has failed, its CIDRs were not probed since, so they are left out.
func (r *redirectResults) list() []status.Redirect {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := map[string]bool{}
	for _, is := range r.results {
		lost[is.Family] = lost[is.Family] || is.CIDR == "" && !is.OK
	}
	all := slices.DeleteFunc(append([]status.Redirect{}, r.results...), func(is status.Redirect) bool { return is.CIDR != "" && lost[is.Family] })
	order := func(r status.Redirect) int {
		switch {
		case r.CIDR == "":
			return 0
		case !r.OK:
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(all, func(a, b status.Redirect) int { return cmp.Compare(order(a), order(b)) })
	return all[:min(len(all), maxRedirects)]
}
