// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/shoot-proxy/proxy-client/internal/status"
)

// Status returns what the data path knows of status.State.
func (p *Proxy) Status() status.State {
	phases := [...]string{idle: status.PhaseStarting, listening: status.PhaseListening, draining: status.PhaseDraining, ended: status.PhaseEnded}
	return status.State{
		Phase:          phases[p.state.Load()],
		Open:           int(p.open.Load()),
		Dialling:       int(p.dialling.Load()),
		MaxConnections: int(p.connections.max),
		MaxDials:       p.cfg.MaxDials,
		HeldBytes:      int64(p.buffers.Held()),
		TotalBuffer:    int64(p.cfg.Quota.Limit()),
		Redirect:       p.redirect.list(),
	}
}

// startSummaries makes the points of the history, and logs what was not logged one by
// one, until stop is called.
func (p *Proxy) startSummaries() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	p.history.start(time.Now())
	go func() {
		defer close(ended)
		ticker := time.NewTicker(historyInterval)
		defer ticker.Stop()
		for last := false; !last; {
			var now time.Time
			select {
			case now = <-ticker.C:
				p.history.point(now, int64(p.buffers.Held()), int(p.open.Load()))
			case <-end:
				now, last = time.Now(), true
			}
			for _, f := range p.failures.due(now, last) {
				p.logTogether(&f)
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}
