// SPDX-License-Identifier: Apache-2.0

package httpsproxy

import (
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/proxystatus"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// What to do about a refusal.
const (
	seeTarget  = "see whether the target's node is up, and whether a NetworkPolicy or firewall drops connections from the proxy"
	seeWay     = "check that the address exists, and that the proxy has a route to it: its VPN, its network policies"
	allow      = "allow the destination in the proxy's rules: http_access of squid, AllowCONNECT and <Proxy> of Apache, RBAC of Envoy"
	seeProxy   = "look at the proxy's log: it is overloaded, or cannot do its work"
	noPassword = "let the proxy accept the client certificate instead of a password: proxy-client sends no Proxy-Authorization"
)

// meaning is what an answer means for a dial.
type meaning struct {
	reason tunnel.Reason
	fault  tunnel.Fault
}

// refused returns the error of an answer other than 2xx. What the proxy says exactly comes
// before the status, and the text of a page last.
func (d *Dialer) refused(a http1.Answer) *tunnel.Error {
	is, said, known := judge(a)
	if !known {
		is = byStatus(a)
	} else {
		d.proven.Store(true)
	}
	d.accepts.Store(is.fault != tunnel.FaultRefusal)
	text := clip.Text(clip.Printable(a.Line), clip.Words)
	if name := a.Server(); name != "" {
		text += " of " + clip.Text(clip.Printable(name), clip.Words)
	}
	if said != "" {
		text += ": " + clip.Text(clip.Printable(strings.Join(strings.Fields(said), " ")), clip.Clause)
	}
	e := &tunnel.Error{Reason: is.reason, Server: d.Server.Name, Fault: is.fault, Err: fmt.Errorf("the proxy refused the dial with %s", text)}
	switch {
	case proxystatus.WantsPassword(a.Status):
		e.Next = noPassword
	case is.fault == tunnel.FaultRefusal:
		e.Err, e.Next = fmt.Errorf("%w: it is no proxy that accepts CONNECT: is the port right?", e.Err), d.NotAProxy()
	case is.reason == tunnel.ReasonForbidden:
		e.Next = allow
	case is.reason == tunnel.ReasonTimeout:
		e.Next = seeTarget
	case is.reason == tunnel.ReasonUnreachable:
		e.Next = seeWay
	case is.fault == tunnel.FaultServer:
		e.Next = seeProxy
	}
	return e
}

// judge returns what an answer says beside its status, if that is known.
func judge(a http1.Answer) (is meaning, said string, known bool) {
	if s := proxystatus.Parse(a.Header.Values("Proxy-Status")); s.Error != "" {
		said = strings.TrimSuffix(s.Error+", "+s.Details, ", ")
		if is.reason, is.fault, known = proxystatus.Meaning(s.Error); known {
			return is, said, true
		}
	}
	if squid := a.Header.Get("X-Squid-Error"); squid != "" {
		is, known = bySquid(squid)
		return is, squid, known
	}
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if len(a.Text) == 0 || err == nil && kind != "text/plain" { // a page has the words of its template
		return is, said, false
	}
	is, known = byWords(string(a.Text))
	return is, strings.TrimSpace(string(a.Text)), known
}

// bySquid returns the meaning of X-Squid-Error: a name, and the errno of the connect.
func bySquid(value string) (meaning, bool) {
	name, number, _ := strings.Cut(value, " ")
	switch errno, _ := strconv.Atoi(number); name {
	case "ERR_ACCESS_DENIED":
		return meaning{tunnel.ReasonForbidden, tunnel.FaultTarget}, true
	case "ERR_CONNECT_FAIL":
		return byErrno(unix.Errno(errno)), true
	case "ERR_DNS_FAIL", "ERR_CANNOT_FORWARD":
		return meaning{tunnel.ReasonUnreachable, tunnel.FaultTarget}, true
	case "ERR_SHUTTING_DOWN", "ERR_SOCKET_FAILURE":
		return meaning{tunnel.ReasonOther, tunnel.FaultServer}, true
	default:
		return meaning{}, false
	}
}

// byErrno returns the meaning of a connect that failed with errno.
func byErrno(errno unix.Errno) meaning {
	is := meaning{reason: tunnel.ReasonUnreachable}
	switch errno {
	case unix.ECONNREFUSED, unix.ECONNRESET:
		is.reason = tunnel.ReasonRefused
	case unix.ETIMEDOUT:
		is.reason = tunnel.ReasonTimeout
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.EADDRNOTAVAIL:
		is = meaning{tunnel.ReasonMaxConnections, tunnel.FaultServer}
	}
	return is
}

// connectError has the errno in the text of Envoy.
var connectError = regexp.MustCompile(`delayed connect error: ([0-9]+)`)

// words are the texts of plain answers, in lower case: those of Envoy and of the C library.
// The first match wins.
var words = []struct {
	text string
	is   meaning
}{
	{"reset reason: overflow", meaning{tunnel.ReasonMaxConnections, tunnel.FaultServer}},
	{"no healthy upstream", meaning{tunnel.ReasonOther, tunnel.FaultServer}},
	{"connection timeout", meaning{reason: tunnel.ReasonTimeout}},
	{"connection timed out", meaning{reason: tunnel.ReasonTimeout}},
	{"i/o timeout", meaning{reason: tunnel.ReasonTimeout}},
	{"connection refused", meaning{reason: tunnel.ReasonRefused}},
	{"no route to host", meaning{reason: tunnel.ReasonUnreachable}},
	{"is unreachable", meaning{reason: tunnel.ReasonUnreachable}},
	{"access denied", meaning{reason: tunnel.ReasonForbidden}},
}

// byWords returns the meaning of a plain text.
func byWords(text string) (meaning, bool) {
	if found := connectError.FindStringSubmatch(text); found != nil {
		errno, err := strconv.Atoi(found[1])
		return byErrno(unix.Errno(errno)), err == nil
	}
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, w.text) {
			return w.is, true
		}
	}
	return meaning{}, false
}

// byStatus returns the meaning of an answer of which nothing but its head is known.
func byStatus(a http1.Answer) meaning {
	if a.Status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "" {
		return meaning{tunnel.ReasonOther, tunnel.FaultServer}
	}
	reason, fault := proxystatus.MeaningOfStatus(a.Status)
	return meaning{reason, fault}
}
