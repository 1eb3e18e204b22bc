// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialBudget is how long a script's app waits for its dial.
const dialBudget = 3 * time.Second

var target = netip.MustParseAddrPort("100.64.3.7:9100")

// wordsOf says what kind of error err is, as far as its kind is promised.
func wordsOf(err error) string {
	if e, ok := errors.AsType[*tunnel.Error](err); ok {
		if e.Fault.Elsewhere() {
			return string(e.Reason) + ", elsewhere"
		}
		return string(e.Reason)
	}
	isBroken, isProtocol := errors.Is(err, tunnel.ErrBroken), errors.Is(err, tunnel.ErrProtocol)
	switch {
	case err == io.EOF:
		return "end"
	case err == tunnel.ErrClosed:
		return "closed"
	case isBroken && !isProtocol:
		return "broken"
	case isProtocol && !isBroken:
		return "protocol"
	default:
		return "unclassified: " + err.Error()
	}
}
