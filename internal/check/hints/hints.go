// SPDX-License-Identifier: Apache-2.0

// Package hints reads from the metrics of a proxy-server how many agents it has, its version
// and its clock.
package hints

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/ask"
)

// Hints are what the metrics of a proxy-server say. Nothing vouches for them: the port has
// no TLS. So they only complete what a dial has shown.
type Hints struct {
	Reached bool          // they are metrics of a proxy-server
	Agents  int           // connections of agents
	Version string        // empty if the metrics do not have it
	Skew    time.Duration // how much the server's clock is ahead of ours
	Dated   bool          // Skew is known
}

// Says returns the number of agents and the version.
func (h Hints) Says() string {
	text := fmt.Sprintf("%d connections of agents", h.Agents)
	if h.Agents == 1 {
		text = "1 connection of an agent"
	}
	if h.Version != "" {
		text += ", and is version " + h.Version
	}
	return text
}

// MetricsPrefix begins the names of upstream's metrics.
const MetricsPrefix = "konnectivity_network_proxy_server_"

// Of reads the metrics of a server, which are usually on the port of its health checks. now
// returns the time.
func Of(ctx context.Context, address netip.Addr, port uint16, now func() time.Time) Hints {
	url := "http://" + net.JoinHostPort(address.String(), strconv.Itoa(int(port))) + "/metrics"
	began := now()
	resp, err := ask.Get(ctx, url)
	if err != nil {
		return Hints{}
	}
	defer resp.Body.Close()
	h := parse(io.LimitReader(resp.Body, 4<<20))
	// A header's time has whole seconds, so it is half a second late on average.
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && h.Reached {
		end := now()
		h.Dated, h.Skew = true, at.Add(500*time.Millisecond).Sub(began.Add(end.Sub(began)/2))
	}
	return h
}

// parse reads metrics in Prometheus' format.
func parse(r io.Reader) Hints {
	var h Hints
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		name, rest, _ := strings.Cut(line, " ")
		metric, labels, _ := strings.Cut(name, "{")
		if strings.Contains(line, "{") { // a label may have a space
			metric, labels, _ = strings.Cut(line, "{")
			labels, rest, _ = strings.Cut(labels, "} ")
		}
		h.Reached = h.Reached || strings.HasPrefix(metric, MetricsPrefix)
		switch {
		case metric == MetricsPrefix+"ready_backend_connections":
			if n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64); err == nil {
				h.Agents += int(n)
			}
		case strings.HasSuffix(metric, "_build_info"):
			for _, label := range []string{`gitVersion="`, `version="`} {
				if _, value, ok := strings.Cut(labels, label); ok && h.Version == "" {
					h.Version, _, _ = strings.Cut(value, `"`)
				}
			}
		}
	}
	return h
}
