// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
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
	return fmt.Errorf("no exit answers (%s)", clause(w.standing.cause))
}

// Note returns one line about connections that go to their targets without an exit, or "".
func (w *Way) Note() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cfg.Exits.Required || w.standing.cause == nil {
		return ""
	}
	return fmt.Sprintf("no exit answers (%s); connections go to their targets without it", clause(w.standing.cause))
}

// clause returns the text of an error. Parts of it come from a peer.
func clause(err *tunnel.Error) string { return clip.Text(clip.Printable(err.Err.Error()), clip.Clause) }

// Exits returns what is known of the exits.
func (w *Way) Exits() *status.Exits {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := &status.Exits{Required: w.cfg.Exits.Required, Answers: w.usable() != nil, Exits: []status.Exit{}}
	for _, e := range w.exits {
		is := status.Exit{Name: e.target.String(), Tunnels: []status.Tunnel{}}
		for t := range w.tunnels {
			if t.target == e.target {
				is.Tunnels = append(is.Tunnels, t.status())
			}
		}
		slices.SortFunc(is.Tunnels, func(a, b status.Tunnel) int {
			return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.DialID, b.DialID))
		})
		for _, s := range w.slots {
			is.Up = is.Up || s.current != nil && s.current.target == e.target && s.current.stands()
		}
		if failure := e.failure; failure != nil {
			is.Reason, is.Cause = string(failure.Reason), clip.Text(clip.Printable(failure.Err.Error()), clip.Sentence)
			is.Next = cmp.Or(failure.Next, cure.NotMade(string(failure.Reason)))
		}
		all.Exits = append(all.Exits, is)
	}
	return all
}

// status returns what is known of t. The caller holds Way.mu.
func (t *exitTunnel) status() status.Tunnel {
	is := status.Tunnel{Server: t.server, Opened: t.opened, Ending: t.replaced || !t.stands(), Load: t.streams, Limit: t.limit()}
	if t.ids.Dial != 0 {
		is.DialID = strconv.FormatInt(t.ids.Dial, 10)
	}
	return is
}
