// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
)

// askNameserver is what to do about a nameserver that gave no answer.
const askNameserver = "see whether a nameserver of the pod's /etc/resolv.conf answers, and whether NetworkPolicies let the pod reach it"

// unresolved completes the step about a server's name that was not resolved.
func (c *checker) unresolved(step report.Step, host string, took time.Duration, err error) report.Step {
	step.Result, step.Cause = report.Failure, report.CauseName
	var exists bool
	step.Found, exists = whyUnresolved(host, took, err)
	step.Next = askNameserver
	if !exists {
		step.Next = fmt.Sprintf("correct the host in %s, or write a Service's as NAME.NAMESPACE.svc", c.Names.ProxyServer)
	}
	return step
}

// unresolvedTarget completes the step about a target's name that was not resolved.
func unresolvedTarget(step report.Step, host string, took time.Duration, err error) report.Step {
	step.Result, step.Cause = report.Failure, report.CauseName
	var exists bool
	step.Found, exists = whyUnresolved(host, took, err)
	step.Next = "check an address instead. Names of the shoot are not resolved here: the app needs an address."
	if exists {
		step.Next = askNameserver + ". Or check an address instead: the app needs one, because no name is resolved in the shoot."
	}
	return step
}

// whyUnresolved says why a name was not resolved. exists is false if a nameserver says that
// the name does not exist. Without an answer it may. took is how long the lookup took.
func whyUnresolved(host string, took time.Duration, err error) (why string, exists bool) {
	dns, isDNS := errors.AsType[*net.DNSError](err)
	text := clip.Text(err.Error(), clip.Words)
	switch {
	case isDNS && dns.IsNotFound:
		return fmt.Sprintf("the pod's resolver says that the name %s does not exist (%s)", host, text), false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), serverconn.TimedOut(err):
		return fmt.Sprintf("no nameserver has answered for %s in %s", host, report.Seconds(took)), true
	case isDNS && dns.Err == "server misbehaving": // as package net says it, of an answer such as SERVFAIL
		return fmt.Sprintf("the pod's nameserver cannot look up %s: %s", host, text), true
	default:
		return fmt.Sprintf("no nameserver has answered for %s: %s", host, text), true
	}
}
