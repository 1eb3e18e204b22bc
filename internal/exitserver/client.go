// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/h2server"
)

// client is one connection of a client, after its handshake.
type client struct {
	server *Server
	id     exitpolicy.Identity
	name   string // for people
	words  string // the identity in the words of a policy
	key    string // for counting
	from   string // its address and port
	chain  []*x509.Certificate
	tls    *tls.Conn
	socket *h2server.Socket // below tls
	http2  *h2server.Conn

	mu      sync.Mutex
	streams map[*stream]struct{} // that were dialled, or are being dialled
	policy  *exitpolicy.Policy   // that grant is from
	grant   *exitpolicy.Grant
	version int         // of the CAs by which chain was verified
	expires time.Time   // the end of chain's validity, CAs included
	expiry  *time.Timer // nil before run, and after it
	away    bool        // the client has no rights any more, and was told to go
}

// run serves the connection until it ends.
func (c *client) run() error {
	defer c.watchExpiry()()
	var rest sync.WaitGroup
	defer rest.Wait()
	rest.Go(func() {
		<-c.http2.Ended()
		for _, s := range c.all() {
			s.limitRest()
		}
	})
	return c.http2.Run()
}

// goAway asks the client to make no further streams on this connection.
func (c *client) goAway() { c.http2.GoAway() }

func (c *client) add(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[s] = struct{}{}
}

func (c *client) remove(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s)
}

// rights returns what the client may reach now. err is a *refusal if the client has no
// rights at all.
func (c *client) rights() (*exitpolicy.Grant, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.After(c.chain[0].NotAfter) {
		return nil, refuse(statusForbidden, ErrorDenied, "the client's certificate has expired: connect again with a new one")
	}
	if certificates, err := c.server.Certificates(); err == nil && certificates.Version != c.version {
		chains := c.verifiedBy(certificates.Clients)
		if chains == nil {
			return nil, refuse(statusForbidden, ErrorDenied, "the client's certificate is not from a CA that the exit accepts now: connect again with a new one")
		}
		c.version = certificates.Version
		c.setExpires(endOf(chains))
	}
	if now.After(c.expires) {
		return nil, refuse(statusForbidden, ErrorDenied, "the CA of the client's certificate has expired: connect again with one of another CA")
	}
	if policy := c.server.Policy(); policy != c.policy {
		c.policy, c.grant = policy, policy.For(c.id)
	}
	if c.grant == nil {
		return nil, denied(exitpolicy.ErrClient)
	}
	return c.grant, nil
}

// verifiedBy returns the chains by which the CAs accept the client's certificate, or nil.
func (c *client) verifiedBy(roots *x509.CertPool) [][]*x509.Certificate {
	between := x509.NewCertPool()
	for _, certificate := range c.chain[1:] {
		between.AddCert(certificate)
	}
	chains, err := c.chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil
	}
	return chains
}

// recheck resets the streams that are not allowed any more. It ends the connection of a
// client without rights.
func (c *client) recheck() {
	grant, err := c.rights()
	if err != nil {
		c.sendAway(err)
	}
	for _, s := range c.all() {
		if err != nil || !s.isAllowed(grant) {
			s.end(ClosePolicy)
		}
	}
}

func (c *client) all() []*stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*stream, 0, len(c.streams))
	for s := range c.streams {
		list = append(list, s)
	}
	return list
}

// abort ends the connection and its streams.
func (c *client) abort() {
	for _, s := range c.all() {
		s.end(CloseDrain)
	}
	c.http2.Close()
}
