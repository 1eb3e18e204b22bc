// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"

	"github.com/shoot-proxy/proxy-client/internal/check/hints"
)

// askHints asks the server for its metrics.
func (p *path) askHints(ctx context.Context) hints.Hints {
	if !p.addr.IsValid() {
		return hints.Hints{}
	}
	ctx, cancel := context.WithTimeout(ctx, hintsTimeout)
	defer cancel()
	return hints.Of(ctx, p.addr.Addr(), p.c.hintsPort, p.c.now)
}

// knownHints waits for the hints, which have a time limit of their own.
func (p *path) knownHints() hints.Hints {
	if p.known == nil {
		h := <-p.hints
		p.known = &h
	}
	return *p.known
}

// hintsNow returns the hints if they are there already.
func (p *path) hintsNow() hints.Hints {
	if p.known == nil {
		select {
		case h := <-p.hints:
			p.known = &h
		default:
			return hints.Hints{}
		}
	}
	return *p.known
}
