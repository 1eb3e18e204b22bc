// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestTheStatusSaysWhyAServerIsSetAside: dead servers are named with the cause, and with
// what to do; the other one is good.
func TestTheStatusSaysWhyAServerIsSetAside(t *testing.T) {
	for state, want := range map[hostState]struct{ state, reason, next string }{
		hostRefuses: {status.EndpointUnreachable, string(tunnel.ReasonServerUnreachable), cure.NotMade(string(tunnel.ReasonServerUnreachable))},
		hostNoAgent: {status.EndpointAside, string(tunnel.ReasonNoAgent), cure.NotMade(string(tunnel.ReasonNoAgent))},
		hostSilent:  {status.EndpointAside, string(tunnel.ReasonTimeout), cure.Silent},
	} {
		inBothModes(t, func(t *testing.T, f frontend) {
			p := newWatchedPair(t, f)
			p.a.becomes(state)
			p.steady(t, 20*time.Second)
			servers := p.Servers()
			dead, good := servers[0], servers[1]
			if dead.Name != "a" || len(dead.Endpoints) != 1 || len(good.Endpoints) != 1 {
				t.Fatalf("the servers are %+v", servers)
			}
			is := dead.Endpoints[0]
			if is.State != want.state || is.Reason != want.reason || is.Error == "" || is.Next != want.next || is.Failures == 0 || is.Until.IsZero() {
				t.Errorf("the dead server's address is %+v", is)
			}
			if up := state != hostRefuses; dead.Up != up || is.Up != up || (dead.Reason == "") != up || (dead.Next == "") != up {
				t.Errorf("the dead server is %+v", dead)
			}
			if is := good.Endpoints[0]; !good.Up || is.State != status.EndpointGood || is.Reason != "" || is.Error != "" || !is.Until.IsZero() || is.Failures != 0 {
				t.Errorf("the other server is %+v", good)
			}
			if is := dead.Endpoints[0]; !is.Answered.IsZero() || is.UpSince.IsZero() == dead.Up || good.Endpoints[0].Answered.IsZero() {
				t.Errorf("last answered: %+v, %+v", is, good.Endpoints[0])
			}
			back := time.Now()
			p.a.becomes(hostUp)
			if !p.uses(p.a, maxBackoff*12/10+watchPause) {
				t.Fatal("the server is back and not used")
			}
			if is := p.Servers()[0]; !is.Up || is.Reason != "" || is.Endpoints[0].State != status.EndpointGood || is.Endpoints[0].Error != "" {
				t.Errorf("the server that came back is %+v", is)
			} else if is := is.Endpoints[0]; !is.Answered.After(back) || is.UpSince.After(back) == dead.Up {
				t.Errorf("the server that came back at %v is up since %v, and has answered at %v", back, is.UpSince, is.Answered)
			}
			p.done()
		})
	}
}

// TestTheFaultIsKnownAfterTheTimeout: the error of a dial says that no server served it,
// and not that the target is the cause.
func TestTheFaultIsKnownAfterTheTimeout(t *testing.T) {
	for state, reason := range map[hostState]tunnel.Reason{
		hostNoAgent: tunnel.ReasonNoAgent, hostSilent: tunnel.ReasonTimeout, hostRefuses: tunnel.ReasonServerUnreachable,
	} {
		inBothModes(t, func(t *testing.T, f frontend) {
			p := newWatchedPair(t, f)
			p.a.becomes(state)
			p.b.becomes(state)
			failed, ok := errors.AsType[*tunnel.Error](dial(t.Context(), p.Dialer).err)
			if !ok || failed.Reason != reason || !failed.Fault.Elsewhere() || failed.Server == "" {
				t.Errorf("the dial ended with %+v, want reason %s and the fault of a server", failed, reason)
			}
			p.done()
		})
	}
}

// TestTheStatusHasTheCertificates: those of the files, and the server's as it was shown.
func TestTheStatusHasTheCertificates(t *testing.T) {
	p := newPKI(t)
	server := p.serveGRPC(t, tunnel.ModeGRPC, nil)
	d := newDialer(t, p.client(), hang, server)
	d.connect(t)
	of := map[string]status.Certificate{}
	for _, c := range d.Certificates() {
		of[c.Role] = c
	}
	for role, want := range map[string]struct{ subject, issuer, file, server string }{
		status.RoleCA:     {"CN=test CA", "CN=test CA", p.file("ca.crt"), ""},
		status.RoleClient: {"CN=client", "CN=test CA", p.file("client.crt"), ""},
		status.RoleServer: {"CN=server", "CN=test CA", "", server.Name},
	} {
		got := of[role]
		if got.Subject != want.subject || got.Issuer != want.issuer || got.File != want.file || got.Server != want.server || !got.NotAfter.After(got.NotBefore) {
			t.Errorf("the certificate of the %s is %+v", role, got)
		}
	}
	if names := of[status.RoleServer].Names; strings.Join(names, " ") != "localhost 127.0.0.1" {
		t.Errorf("the server's names are %q", names)
	}
	if s := d.Servers()[0].Endpoints[0]; s.DialSeconds != 0 {
		t.Errorf("a dial took %v s, but there was none", s.DialSeconds)
	}
}

// TestTheStatusHasACertificateThatWasRefused: it is the one that a person has to look at.
func TestTheStatusHasACertificateThatWasRefused(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	d := newDialer(t, other.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, nil))
	if err := d.endpoint(t).Check(t.Context()); err == nil || err.Reason != tunnel.ReasonTLS {
		t.Fatalf("the server was not refused for its certificate: %v", err)
	}
	all := d.Certificates()
	if last := all[len(all)-1]; last.Role != status.RoleServer || last.Subject != "CN=server" || !strings.Contains(last.Problem, "not signed by --ca-cert=") {
		t.Errorf("the refused certificate is %+v", last)
	}
	if is := d.Servers()[0]; is.Up || is.Reason != string(tunnel.ReasonTLS) || !strings.Contains(is.Cause, "not signed by --ca-cert=") || is.Next != "write the CA that has signed the server's certificate into the Secret of --ca-cert="+clip.Text(other.file("ca.crt"), clip.Words) {
		t.Errorf("the server is %+v", is)
	}
	// A file that cannot be used any more is named, and the certificate stays.
	must(t, os.WriteFile(other.file("ca.crt"), []byte("no PEM"), 0o600))
	_, err := d.certs.Config() // as the next handshake does
	must(t, err)
	if ca := d.Certificates()[0]; ca.Role != status.RoleCA || ca.Subject != "CN=test CA" || !strings.Contains(ca.Problem, "stays in use") {
		t.Errorf("the CA whose file is broken is %+v", ca)
	}
}
