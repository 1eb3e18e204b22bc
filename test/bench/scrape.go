// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// scrape asks N targets for their metrics, At at a time, as a Prometheus does. With
// KeepAlive the connections are open before, as they are from the second scrape on.
func scrape(ctx context.Context, dial dialFunc, w Work) (Figures, error) {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, to string) (net.Conn, error) { return dial(ctx, to) },
		DisableKeepAlives: !w.KeepAlive, DisableCompression: true,
		MaxIdleConnsPerHost: 1,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	took := make([]time.Duration, w.N)
	all := func() (time.Duration, error) {
		began := time.Now()
		err := each(ctx, w.N, w.At, func(ctx context.Context, i int) error {
			start := time.Now()
			err := get(ctx, client, "http://"+net.JoinHostPort(w.Host, strconv.Itoa(w.Port+i))+"/metrics", w.Bytes)
			took[i] = time.Since(start)
			return err
		})
		return time.Since(began), err
	}
	if w.KeepAlive {
		if _, err := all(); err != nil {
			return nil, err
		}
	}
	elapsed, err := all()
	return Figures{"seconds": elapsed.Seconds(), "p50-ms": ms(percentile(took, 50))}, err
}

func get(ctx context.Context, client *http.Client, url string, want int64) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	got, err := io.Copy(io.Discard, answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || got != want) {
		err = fmt.Errorf("%s: status %s and %d bytes, want %d", url, answer.Status, got, want)
	}
	return err
}
