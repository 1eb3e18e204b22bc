// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"testing"
	"time"
)

// A moment without packets must not end a connection on which nothing is being
// sent. With probes after 10 s and every 5 s, one lost probe did.
func TestLostKeepaliveProbesAreForgiven(t *testing.T) {
	if keepalive.Interval <= 0 || !keepalive.Enable {
		t.Fatalf("keepalive is %+v, which never looks", keepalive)
	}
	var sent int
	for at := keepalive.Idle; at < userTimeout; at += keepalive.Interval {
		sent++
	}
	forgiven := time.Duration(sent-1) * keepalive.Interval
	if sent < 2 || forgiven < 4*time.Second {
		t.Errorf("%d probes are sent before the connection is given up, which forgives %s without packets, want 4s at least", sent, forgiven)
	}
}
