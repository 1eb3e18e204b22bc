// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"crypto/x509"
	"time"
)

const (
	// expiryLook is the longest time between two looks at the clock. Timers do not notice
	// that the wall clock was set, or that the machine has slept.
	expiryLook = time.Minute
	// sendAwayTimeout is how long a client without rights may take to read that it has to go.
	sendAwayTimeout = 800 * time.Millisecond
)

// endOf returns until when the best of the chains is valid. A chain ends with the first of
// its certificates.
func endOf(chains [][]*x509.Certificate) time.Time {
	var best time.Time
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, certificate := range chain[1:] {
			if certificate.NotAfter.Before(end) {
				end = certificate.NotAfter
			}
		}
		if end.After(best) {
			best = end
		}
	}
	return best
}

// untilExpiry returns the time until the first moment at which expires has passed, or until
// the next look. For a year far away time.Until returns the largest Duration.
func untilExpiry(expires time.Time) time.Duration {
	return min(time.Until(expires), expiryLook) + time.Millisecond
}

// watchExpiry ends the connection when the client's certificate expires, until stop is
// called.
func (c *client) watchExpiry() (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expiry = time.AfterFunc(untilExpiry(c.expires), c.checkExpiry)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.expiry.Stop()
		c.expiry = nil
	}
}

// setExpires sets when the certificate expires. The caller holds mu.
func (c *client) setExpires(expires time.Time) {
	c.expires = expires
	if c.expiry != nil {
		c.expiry.Reset(untilExpiry(expires))
	}
}

// checkExpiry ends the connection if the client's certificate has expired. The timer calls
// it.
func (c *client) checkExpiry() {
	if c.hasExpired() {
		c.recheck()
	}
}

// hasExpired reports whether the certificate has expired while the connection is served. It
// looks again later in both cases: rights reads the clock once more, which may be set back
// meanwhile.
func (c *client) hasExpired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expiry == nil {
		return false
	}
	left := untilExpiry(c.expires)
	if left <= 0 {
		c.expiry.Reset(expiryLook)
		return true
	}
	c.expiry.Reset(left)
	return false
}

// sendAway ends the connection of a client that has lost all rights. The client is told
// before, if it reads. It may still ask for streams meanwhile, which are refused.
func (c *client) sendAway(cause error) {
	c.mu.Lock()
	first := !c.away
	c.away = true
	c.mu.Unlock()
	if !first {
		return
	}
	c.server.Logger.Info("a client has no rights any more", "client", c.name, "from", c.from, "error", refusalOf(cause).details)
	c.goAway()
	time.AfterFunc(sendAwayTimeout, c.http2.Close)
}
