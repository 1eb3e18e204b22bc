// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/h2server"
)

// stream is one request of a client, and its target's connection.
type stream struct {
	client *client
	http   *h2server.Stream
	target target
	began  time.Time

	fromClient, toClient atomic.Int64 // bytes
	clientEnded          atomic.Bool  // the client's end has arrived
	targetFIN            atomic.Bool  // the target's has
	clientless           atomic.Bool  // the client's connection has ended
	moving               sync.Mutex   // held while download has bytes that it has not sent

	mu      sync.Mutex
	cancel  context.CancelFunc // of the dial
	conn    *net.TCPConn       // nil until the target has answered
	at      netip.AddrPort     // of the target
	reason  CloseReason        // the first cause of the end, or empty
	stopped bool               // the dial was given up, or the target was reset
}

// serve serves one request of the client.
func (c *client) serve(http *h2server.Stream) {
	s := &stream{client: c, http: http, began: time.Now()}
	server := c.server
	if err := s.readRequest(); err != nil {
		s.refuse(err)
		return
	}
	if problem := server.usage.addStream(c.key); problem != "" {
		s.refuse(refuse(statusUnavailable, ErrorLimitReached, "%s", problem))
		return
	}
	defer server.usage.removeStream(c.key)
	server.Metrics.streamsActive.Inc()
	defer server.Metrics.streamsActive.Dec()
	c.add(s)
	defer c.remove(s)
	if err := s.dial(); err != nil {
		s.refuse(err)
		return
	}
	s.relay()
}

// readRequest sets the target. Its error is a *refusal.
func (s *stream) readRequest() error {
	request := s.http.Request
	if request.TooLarge {
		return refuse(statusHeaderTooLarge, ErrorRequest, "the header of the request is too large")
	}
	if request.Method != http.MethodConnect || request.Other {
		return refuse(statusMethod, ErrorRequest, "the exit serves CONNECT to host:port, and nothing else")
	}
	var problem string
	if s.target, problem = parseTarget(request.Authority); problem != "" {
		return refuse(statusBadRequest, ErrorRequest, "%s", problem)
	}
	return nil
}

// dial connects to the target. Its error is a *refusal.
func (s *stream) dial() error {
	rechecks := s.client.server.rechecks.Load() // before rights, which may change meanwhile
	grant, err := s.client.rights()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	s.cancel = cancel
	s.mu.Unlock()
	s.http.OnFailure(s.clientFailed)
	conn, at, err := s.client.server.targets.dial(ctx, grant, s.target)
	if err := s.dialled(conn, at, err); err != nil {
		return err
	}
	if s.client.server.rechecks.Load() != rechecks { // the dial was not looked at
		s.client.recheck()
	}
	s.client.server.Metrics.dial.Observe(time.Since(s.began).Seconds())
	return nil
}

// dialled sets the target's connection, unless the stream was ended meanwhile.
func (s *stream) dialled(conn *net.TCPConn, at netip.AddrPort, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel, s.at = nil, at
	switch {
	case err != nil:
		return err
	case s.stopped:
		reset(conn)
		return errGivenUp
	}
	s.conn = conn
	return nil
}

// errGivenUp is the error of a dial that the client or the exit has ended.
var errGivenUp = errors.New("given up")

// refuse answers a request that is not served, and logs it.
func (s *stream) refuse(err error) {
	s.mu.Lock()
	reason := s.reason
	s.mu.Unlock()
	server := s.client.server
	if reason != "" { // nobody waits for an answer
		server.Metrics.closes[reason].Inc()
		s.logNotMade(oneGivenUp, manyGivenUp, string(reason), "reason", string(reason))
		return
	}
	r := refusalOf(err)
	server.Metrics.refused[r.proxy].Inc()
	s.http.Refuse(r.status, []hpack.HeaderField{{Name: "proxy-status", Value: r.header()}})
	why := []any{"status", r.status, "error", string(r.proxy), "details", r.details}
	if r.proxy == ErrorDenied { // a person may look for what to write into the policy
		why = append(why, "identity", s.client.words)
	}
	s.logNotMade(oneRefused, manyRefused, string(r.proxy), why...)
}

// logNotMade logs a stream that was not made, unless the same has just been logged several
// times. many is the message about several.
func (s *stream) logNotMade(one, many, cause string, why ...any) {
	key := repeatKey{client: s.client.key, destination: s.destination(), cause: cause}
	if server := s.client.server; server.repeats.add(time.Now(), key, s.client.name, many, why) {
		server.Logger.Info(one, s.describe(why...)...)
	}
}

// destination returns what the client has asked for, as much of it as fits into a log line.
func (s *stream) destination() string {
	if s.target.port == 0 {
		return clip.Text(s.http.Request.Authority, clip.Clause) // it was not understood
	}
	return s.target.String()
}

// describe returns what a log line says of the stream, and values behind it.
func (s *stream) describe(values ...any) []any {
	all := []any{"client", s.client.name, "from", s.client.from, "destination", s.destination()}
	if s.target.name != "" && s.at.IsValid() {
		all = append(all, "address", s.at.String())
	}
	all = append(all, values...)
	return append(all, "duration", time.Since(s.began).Round(time.Microsecond).String())
}

// clientFailed ends the stream after the client has reset it, or has gone. h2server calls
// it, so it must not call that package.
func (s *stream) clientFailed(err error) {
	reason := CloseClientGone
	if errors.Is(err, h2server.ErrReset) {
		reason = CloseClientReset
	}
	s.stop(reason)
}

// stop resets the target, and keeps the first reason. It reports whether this was the
// first call.
func (s *stream) stop(reason CloseReason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.stopped, s.reason = true, cmp.Or(s.reason, reason)
	if s.cancel != nil {
		s.cancel()
	}
	if s.conn != nil {
		reset(s.conn)
	}
	return true
}

// end resets both sides. The client learns whether the cause was the target or the exit.
func (s *stream) end(reason CloseReason) {
	if !s.stop(reason) {
		return
	}
	s.mu.Lock()
	byTarget := s.reason == CloseTargetReset // the first reason
	s.mu.Unlock()
	if byTarget {
		s.http.Reset()
	} else {
		s.http.Cancel()
	}
}

// reset ends a connection with a TCP reset, which discards what was not sent.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // fails only if it is closed
	_ = conn.Close()
}

// isAllowed reports whether grant still allows the stream's target.
func (s *stream) isAllowed(grant *exitpolicy.Grant) bool {
	s.mu.Lock()
	at := s.at
	s.mu.Unlock()
	if !at.IsValid() {
		return true // its dial has the policy of its beginning, and is looked at again
	}
	targets := &s.client.server.targets
	if s.target.name != "" && grant.CheckName(s.target.name, s.target.port) != nil {
		return false
	}
	return targets.check(grant, s.target.name, at) == nil
}

// relay moves bytes in both directions until both have ended.
func (s *stream) relay() {
	if err := s.http.Accept(); err != nil {
		s.stop(CloseClientGone) // OnFailure has a better reason
	}
	uploaded, downloaded := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(uploaded)
		s.upload(downloaded)
	}()
	s.download()
	close(downloaded)
	<-uploaded
	reason := s.finish()
	s.client.server.Metrics.closes[reason].Inc()
	s.client.server.Logger.Info("a connection has ended",
		s.describe("reason", string(reason), "to_target", s.fromClient.Load(), "to_client", s.toClient.Load())...)
}

// finish closes the target's connection, and returns what has ended the stream.
func (s *stream) finish() CloseReason {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = cmp.Or(s.reason, CloseClean)
	_ = s.conn.Close() // fails if it was reset
	return s.reason
}
