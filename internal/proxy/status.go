// SPDX-License-Identifier: Apache-2.0

package proxy

import "github.com/shoot-proxy/proxy-client/internal/status"

// Status returns what the data path knows of status.State.
func (p *Proxy) Status() status.State {
	phases := [...]string{idle: status.PhaseStarting, listening: status.PhaseListening, draining: status.PhaseDraining, ended: status.PhaseEnded}
	return status.State{
		Phase:          phases[p.state.Load()],
		Open:           int(p.open.Load()),
		MaxConnections: int(p.connections.max),
		MaxDials:       p.cfg.MaxDials,
		HeldBytes:      int64(p.buffers.Held()),
	}
}
