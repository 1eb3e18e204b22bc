// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/check/targetconn"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// greetTimeout is how long a target may take that speaks first, such as SSH.
	greetTimeout = 300 * time.Millisecond
	// speakTimeout is how long a target may take to answer a TLS or HTTP request.
	speakTimeout = 2 * time.Second
)

// answer finds out what a target speaks: it listens, then begins a TLS handshake, then
// asks for the headers of an HTTP page. A target may speak anything, so that is no
// failure, whatever the result.
func (c *checker) answer(ctx context.Context, to destination) report.Step {
	step := report.Step{Name: report.StepAnswer, Target: to.addr.String(), Result: report.OK}
	way := to.ways[0]
	t, err := openTarget(ctx, way, to)
	if err != nil {
		step.Result, step.Found = report.Skipped, "the target was dialled before, and could not be again: "+clip.Text(err.Error(), clip.Clause)
		return step
	}
	began := time.Now()
	if first := t.First(c.greet); len(first) > 0 {
		_ = t.Close()
		step.Seconds = time.Since(began).Seconds()
		step.Found = fmt.Sprintf("the target speaks first, in %s, and begins %q", report.Seconds(time.Since(began)), clip.Text(string(first), clip.Words))
		return step
	}
	if t.Ended() {
		_ = t.Close()
		step.Found = "the target closes the connection without a byte"
		return step
	}
	began = time.Now()
	state, failed := t.Handshake(c.speak)
	took := time.Since(began)
	_ = t.Close()
	switch {
	case failed == nil:
		return c.speaksTLS(step, state, took)
	case strings.HasPrefix(string(t.Begins()), "HTTP/"):
		return c.speaksHTTP(ctx, step, way, to)
	case len(t.Begins()) > 0 && t.Begins()[0] == alertRecord:
		step.Seconds = took.Seconds()
		step.Found = fmt.Sprintf("the target speaks TLS, and ended the handshake in %s: %s", report.Seconds(took), clip.Text(failed.Error(), clip.Words))
		return step
	case len(t.Begins()) > 0:
		step.Seconds = took.Seconds()
		step.Found = fmt.Sprintf("the target answered in %s, and speaks neither TLS nor HTTP: its answer begins %q", report.Seconds(took), clip.Text(string(t.Begins()[:min(len(t.Begins()), 32)]), clip.Words))
		return step
	}
	return c.speaksHTTP(ctx, step, way, to)
}

// alertRecord is the type of a TLS record with an alert (RFC 8446, section 5.1).
const alertRecord = 21

// speaksTLS completes the step about a target that speaks TLS.
func (c *checker) speaksTLS(step report.Step, state tls.ConnectionState, took time.Duration) report.Step {
	step.Seconds, step.ALPN = took.Seconds(), state.NegotiatedProtocol
	step.Certificates = describeAll(state.PeerCertificates)
	step.Found = fmt.Sprintf("the target speaks %s, handshake in %s", tls.VersionName(state.Version), report.Seconds(took))
	if len(state.PeerCertificates) == 0 {
		return step
	}
	leaf := state.PeerCertificates[0]
	step.Found += fmt.Sprintf("; its certificate %s of %s is for %s and %s (not verified: the app does that)", title(leaf), issuer(leaf), quoted(namesOf(leaf)), dates(leaf, c.now()))
	if v := validityAt(leaf, c.now()); v == expired || v == notYetValid {
		step.Result, step.Cause = report.Warning, v.cause()
		step.Next = "renew the target's certificate, if the app verifies it"
	}
	return step
}

// speaksHTTP asks the target for the headers of a page, and completes the step.
func (c *checker) speaksHTTP(ctx context.Context, step report.Step, way *path, to destination) report.Step {
	t, err := openTarget(ctx, way, to)
	if err != nil {
		step.Result, step.Found = report.Skipped, "the target was dialled before, and could not be again: "+clip.Text(err.Error(), clip.Clause)
		return step
	}
	defer t.Close()
	began := time.Now()
	_, _ = io.WriteString(t, "HEAD / HTTP/1.0\r\nHost: "+to.addr.String()+"\r\nUser-Agent: shoot-proxy-check\r\n\r\n")
	first := t.First(c.speak)
	took := time.Since(began)
	step.Seconds = took.Seconds()
	line, _, _ := strings.Cut(string(first), "\r\n")
	switch {
	case strings.HasPrefix(line, "HTTP/"):
		step.Found = fmt.Sprintf("the target speaks HTTP without TLS: first byte in %s, %q", report.Seconds(took), clip.Text(line, clip.Words))
	case len(first) > 0:
		step.Found = fmt.Sprintf("the target answered in %s, and speaks neither TLS nor HTTP: its answer begins %q", report.Seconds(took), clip.Text(line, clip.Words))
	case t.Ended():
		step.Found = "the target accepts connections, and closes them at a TLS and at an HTTP request"
	default:
		step.Cause = report.CauseTargetSilent
		step.Found = fmt.Sprintf("the target accepts connections, and is silent: it sends nothing by itself, and answers neither a TLS nor an HTTP request within %s", report.Seconds(c.speak))
	}
	return step
}

func openTarget(ctx context.Context, way *path, to destination) (*targetconn.Conn, *tunnel.Error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := way.target.DialOnce(ctx, to.addr)
	if err != nil {
		return nil, err
	}
	return targetconn.New(conn, way.c.work.Go), nil
}
