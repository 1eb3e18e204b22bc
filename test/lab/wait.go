// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// The intervals of polling are short at first, then longer. Most conditions hold at once.
// The processes behind the rest should not be disturbed.
const (
	shortestPoll = 10 * time.Millisecond
	longestPoll  = 250 * time.Millisecond
)

// Poll calls condition until it returns nil. When ctx ends, Poll returns an error with
// the last error of condition and with what was waited for.
func Poll(ctx context.Context, what string, condition func(context.Context) error) error {
	interval := shortestPoll
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // otherwise the condition only reports the end of ctx
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last: %w", what, context.Cause(ctx), last)
		case <-time.After(interval):
			interval = min(2*interval, longestPoll)
		}
	}
}

// waitHealthy polls a process's health URL from inside its namespace until it answers
// 200, the process ends, or ctx does.
func (n *Namespace) waitHealthy(ctx context.Context, p *Process, url string) error {
	client := n.HTTP()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return Poll(ctx, p.Name+" at "+url, func(ctx context.Context) error {
		if err := p.alive(); err != nil {
			cancel(err)
			return err
		}
		_, err := Get(ctx, client, url)
		return err
	})
}

// Get requests a URL and returns the body of a 200 answer.
func Get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("GET %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s: %.300s", url, resp.Status, body)
	}
	return string(body), nil
}
