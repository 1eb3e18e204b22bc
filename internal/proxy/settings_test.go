// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/relay"
)

// TestLimitsOfARelayAreNamed: if a limit has ended a connection, the log line names its
// setting.
func TestLimitsOfARelayAreNamed(t *testing.T) {
	p := &Proxy{cfg: Config{Names: options.SettingNames()}}
	silence := errors.New("nothing has moved for 5m0s")
	for _, tt := range []struct {
		result relay.Result
		want   string
	}{
		{relay.Result{Reason: relay.SlowReader, Err: relay.ErrSlowReader}, "(--connection-buffer)"},
		{relay.Result{Reason: relay.SlowReader, Err: relay.ErrTotal}, "(--total-buffer)"},
		{relay.Result{Reason: relay.Idle, Err: silence}, "(--idle-timeout)"},
	} {
		if err := p.relayError(tt.result); !errors.Is(err, tt.result.Err) || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s ends with %q, want %v and then %s", tt.result.Reason, err, tt.result.Err, tt.want)
		}
	}
	if err := p.relayError(relay.Result{Reason: relay.TunnelBroken, Err: silence}); err != silence {
		t.Errorf("an error without a limit became %v", err)
	}
	if err := p.relayError(relay.Result{Reason: relay.TargetClosed}); err != nil {
		t.Errorf("a clean end has the error %v", err)
	}
}
