// SPDX-License-Identifier: Apache-2.0

package check

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// hints is what the metrics of a proxy-server say. Nothing vouches for them: the port has
// no TLS. So they only complete what a dial has shown.
type hints struct {
	reached bool          // they are metrics of a proxy-server
	agents  int           // connections of agents
	version string        // empty if the metrics do not have it
	skew    time.Duration // how much the server's clock is ahead of ours
	dated   bool          // skew is known
}

// says returns the number of agents and the version.
func (h hints) says() string {
	text := fmt.Sprintf("%d connections of agents", h.agents)
	if h.agents == 1 {
		text = "1 connection of an agent"
	}
	if h.version != "" {
		text += ", and is version " + h.version
	}
	return text
}

// metricsPrefix begins the names of upstream's metrics.
const metricsPrefix = "konnectivity_network_proxy_server_"

// askHints reads the metrics of the server, which are usually on the port of its health
// checks.
func (p *path) askHints(ctx context.Context) hints {
	if !p.addr.IsValid() {
		return hints{}
	}
	ctx, cancel := context.WithTimeout(ctx, hintsTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(p.addr.Addr().String(), strconv.Itoa(int(p.c.hintsPort))) + "/metrics"
	began := p.c.now()
	resp, err := get(ctx, url)
	if err != nil {
		return hints{}
	}
	defer resp.Body.Close()
	h := parseHints(io.LimitReader(resp.Body, 4<<20))
	// A header's time has whole seconds, so it is half a second late on average.
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && h.reached {
		now := p.c.now()
		h.dated, h.skew = true, at.Add(500*time.Millisecond).Sub(began.Add(now.Sub(began)/2))
	}
	return h
}

// parseHints reads metrics in Prometheus' format.
func parseHints(r io.Reader) hints {
	var h hints
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
		h.reached = h.reached || strings.HasPrefix(metric, metricsPrefix)
		switch {
		case metric == metricsPrefix+"ready_backend_connections":
			if n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64); err == nil {
				h.agents += int(n)
			}
		case strings.HasSuffix(metric, "_build_info"):
			for _, label := range []string{`gitVersion="`, `version="`} {
				if _, value, ok := strings.Cut(labels, label); ok && h.version == "" {
					h.version, _, _ = strings.Cut(value, `"`)
				}
			}
		}
	}
	return h
}

// knownHints waits for the hints, which have a time limit of their own.
func (p *path) knownHints() hints {
	if p.known == nil {
		h := <-p.hints
		p.known = &h
	}
	return *p.known
}

// hintsNow returns the hints if they are there already.
func (p *path) hintsNow() hints {
	if p.known == nil {
		select {
		case h := <-p.hints:
			p.known = &h
		default:
			return hints{}
		}
	}
	return *p.known
}

// get asks for a URL on a connection of its own. The caller closes the body.
func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // without Proxy: the environment's proxies are not meant
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client.Do(req)
}
