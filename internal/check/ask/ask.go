// SPDX-License-Identifier: Apache-2.0

// Package ask asks HTTP servers on loopback and beside a proxy-server, each time on a
// connection of its own.
//
// It does not know what the answers mean.
package ask

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

// Timeout bounds each question to the running sidecar, which is on loopback. The
// first two come before the check itself.
const Timeout = 1500 * time.Millisecond

// Get asks for a URL on a connection of its own. The caller closes the body.
func Get(ctx context.Context, url string) (*http.Response, error) {
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

// Document asks the admin address of a sidecar for one of its JSON documents.
func Document[T any](ctx context.Context, admin, path string) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	resp, err := Get(ctx, "http://"+admin+path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s to %s", admin, resp.Status, path)
	}
	const most = 16 << 20
	to := new(T)
	if err := json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(to); err != nil {
		return nil, fmt.Errorf("the answer of %s to %s: %w", admin, path, err)
	}
	return to, nil
}

// Text asks for a short answer.
func Text(ctx context.Context, url string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	resp, err := Get(ctx, url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, clip.Value))
	return resp.StatusCode, string(body), err
}
