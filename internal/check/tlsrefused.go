// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// refused adds the steps about a handshake that failed with err. It always returns false.
func (p *path) refused(ctx context.Context, step report.Step, files tlsFiles, err *tunnel.Error) bool {
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](err.Err); ok {
		p.chain = unverified.UnverifiedCertificates
		step.Certificates = describeAll(p.chain)
	}
	if err.Reason == tunnel.ReasonProtocol {
		// It ended before any certificate was seen.
		judged := p.wrongServer(ctx, step, err)
		if judged.Cause == report.CausePlaintext {
			p.add(judged)
			return false
		}
		step.Result, step.Found = report.Skipped, "the handshake was not completed: see step "+report.StepMode
		p.add(step)
		judged.Name = report.StepMode
		p.add(judged)
		return false
	}
	if files.failed() {
		step.Result, step.Found = report.Skipped, "step "+report.StepFiles+" failed, so the server's certificate was not judged"
		p.add(step)
		return false
	}
	p.add(p.judgeHandshake(ctx, step, err))
	return false
}

// judgeHandshake completes the step about a handshake that failed with err.
func (p *path) judgeHandshake(ctx context.Context, step report.Step, err *tunnel.Error) report.Step {
	names := p.c.Names
	step.Result, step.Cause = report.Failure, causeOf(err)
	step.Found = clip.Text(err.Err.Error(), clip.Clause)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err.Err)
	switch {
	case p.addr.Port() == agentsPort && !isInvalid && len(p.chain) > 0:
		step.Cause = report.CauseAgentsPort
		step.Found = fmt.Sprintf("%d is usually the agents' port, and its certificate %s of %s for %s is not accepted",
			agentsPort, title(p.chain[0]), issuer(p.chain[0]), quoted(namesOf(p.chain[0])))
		step.Next = fmt.Sprintf("write the port for clients in %s: %s", names.ProxyServer, serverconn.ServersPort)
	case errors.As(err.Err, new(x509.UnknownAuthorityError)) && len(p.chain) > 0:
		step.Cause = report.CauseWrongCA
		step.Found = fmt.Sprintf("the server's certificate %s is signed by %s, which is not in %s %s",
			title(p.chain[0]), issuer(p.chain[0]), names.CACert, p.c.TLS.CAFile)
		step.Next = fmt.Sprintf("write the CA that has signed the server's certificate into the Secret of %s", names.CACert)
	case errors.As(err.Err, new(x509.HostnameError)) && len(p.chain) > 0:
		step.Cause = report.CauseWrongName
		step.Found = fmt.Sprintf("the server's certificate is not for %q but for %s", p.host, quoted(namesOf(p.chain[0])))
		step.Next = fmt.Sprintf("set %s to one of these names, or correct the host in %s", names.ServerName, names.ProxyServer)
	case isInvalid && invalid.Reason == x509.Expired:
		step = p.judgeDates(step, invalid.Cert)
	case err.Reason == tunnel.ReasonTLS && errors.As(err.Err, new(*tls.CertificateVerificationError)):
		step.Next = "have the server's certificate issued again"
	case err.Reason == tunnel.ReasonTLS:
		p.judgeAlert(&step, err)
	case serverconn.Interrupted(ctx):
		step.Cause = report.CauseSilent
		step.Found = fmt.Sprintf("the server accepts TCP connections, and has not answered the TLS handshake within %s", report.Seconds(tlsTimeout))
		step.Next = "see whether the proxy-server hangs or is overloaded: its log, its CPU, kubectl get pods"
	default:
		step.Cause = report.CauseSilent
		step.Found = "the connection ended during the TLS handshake: " + step.Found
		step.Next = fmt.Sprintf("see whether a load balancer in front knows the name %q (%s), and look at the server's log", p.host, names.ServerName)
	}
	return step
}

// agentsPort is upstream's default for the agents.
const agentsPort = 8091

// judgeDates completes the step about a server's certificate that is not valid now.
func (p *path) judgeDates(step report.Step, cert *x509.Certificate) report.Step {
	if cert == nil && len(p.chain) > 0 {
		cert = p.chain[0]
	}
	if cert == nil {
		return step
	}
	now := p.c.now()
	step.Cause = validityAt(cert, now).cause()
	step.Found = fmt.Sprintf("the server's certificate %s %s", title(cert), dates(cert, now))
	step.Next = "renew the server's certificate, and restart the server if it does not read it again"
	if step.Cause == report.CauseNotYetValid {
		step.Next = "compare the clocks of this node and of the one that issued the certificate, or wait, or issue it again"
	}
	return step
}

// judgeAlert completes the step about a server that has refused the client.
func (p *path) judgeAlert(step *report.Step, err *tunnel.Error) {
	names := p.c.Names
	said := clip.Text(err.Err.Error(), clip.Clause)
	if alert, ok := serverconn.RemoteAlert(err.Err); ok {
		said = alert
	}
	step.Cause = report.CauseClientRefused
	step.Found = fmt.Sprintf("the server refuses this client (%s): %s %s is most likely not signed by a CA that the server has for clients", said, names.ClientCert, p.c.TLS.CertFile)
	step.Next = fmt.Sprintf("give the sidecar a client certificate (%s) that is signed by the CA of the server's --server-ca-cert", names.ClientCert)
	switch {
	case p.addr.Port() == agentsPort:
		step.Cause = report.CauseAgentsPort
		step.Found = fmt.Sprintf("%d is usually the agents' port, and it refuses this client (%s)", agentsPort, said)
		step.Next = fmt.Sprintf("write the port for clients in %s: %s", names.ProxyServer, serverconn.ServersPort)
	case p.c.TLS.CertFile == "":
		step.Found = fmt.Sprintf("the server refuses this client (%s), which has no certificate", said)
		step.Next = fmt.Sprintf("give %s and %s", names.ClientCert, names.ClientKey)
	case strings.Contains(said, "expired"):
		step.Cause = report.CauseExpired
		step.Found = fmt.Sprintf("the server says that %s %s has expired (%s), which by this node's clock it has not", names.ClientCert, p.c.TLS.CertFile, said)
		step.Next = "compare the clocks of this node and of the server's, and set the wrong one right"
	}
}

// amendTLS turns the step about the handshake into a failure: the server has refused the
// client's certificate behind it.
func (p *path) amendTLS(err *tunnel.Error) {
	for i := range p.steps {
		if p.steps[i].Name == report.StepTLS {
			p.steps[i].Result = report.Failure
			p.judgeAlert(&p.steps[i], err)
		}
	}
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "no name at all"
	}
	const most = 6
	var b strings.Builder
	for i, n := range names[:min(len(names), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", clip.Text(n, clip.Words))
	}
	if len(names) > most {
		fmt.Fprintf(&b, " and %d more", len(names)-most)
	}
	return b.String()
}
