// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"fmt"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

// Unready returns why no connection can be made, in one clause: an exit is required, and none
// answers. Otherwise it returns nil.
func (w *Way) Unready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.cfg.Exits.Required || w.usable() != nil {
		return nil
	}
	if w.standing.cause == nil {
		return errNoTunnelYet
	}
	return fmt.Errorf("no exit answers (%s)", clip.Text(w.standing.cause.Err.Error(), clip.Clause))
}

// Note returns one line about connections that go to their targets without an exit, or "".
func (w *Way) Note() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cfg.Exits.Required || w.standing.cause == nil {
		return ""
	}
	return fmt.Sprintf("no exit answers (%s); connections go to their targets without it", clip.Text(w.standing.cause.Err.Error(), clip.Clause))
}
