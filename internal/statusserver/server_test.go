// SPDX-License-Identifier: Apache-2.0

package statusserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "the-token"

// handlerFor returns a handler with n connections, and the drains that were asked for.
func handlerFor(t testing.TB, n int) (http.Handler, *[]string) {
	t.Helper()
	var drains []string
	handler, err := newHandler(Config{
		Documents: Documents{
			Instance:      "instance",
			Configuration: func() status.Configuration { return status.Configuration{} },
			State:         func() status.State { return status.State{Phase: status.PhaseListening} },
			Servers:       func() []status.Server { return nil },
			Connections: func() iter.Seq[status.Connection] {
				return func(yield func(status.Connection) bool) {
					for i := range n {
						if !yield(status.Connection{ID: uint64(i), Destination: "100.64.0.1:80"}) {
							return
						}
					}
				}
			},
			Failures: func() []status.Failure { return []status.Failure{{Cure: "a <b> & c"}} },
			History:  func() status.History { return status.History{} },
		},
		Drain:  func(from string) { drains = append(drains, from) },
		Logger: slog.New(slog.DiscardHandler),
	}, token)
	if err != nil {
		t.Fatal(err)
	}
	return handler, &drains
}

// request returns the answer to a request to host. header has names and values in turn.
func request(handler http.Handler, method, host, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Result()
}

func TestOnlyLoopbackHostsAreAnswered(t *testing.T) {
	handler, _ := handlerFor(t, 0)
	for host, want := range map[string]int{
		"127.0.0.1:14000": 200, "127.0.0.1": 200, "localhost:8080": 200, "LOCALHOST": 200, "[::1]:14000": 200, "[::1]": 200, "127.8.9.1:1": 200,
		"": 403, "evil.example:14000": 403, "10.1.2.3:14000": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example:14000": 403,
		"[::]:14000": 403, "0.0.0.0:14000": 403, "[::1%25lo]:14000": 403, "localhost:80:90": 403, "[fd00::1]:14000": 403,
	} {
		for _, path := range []string{"/", "/state", "/connections", "/debug/pprof/"} {
			if got := request(handler, http.MethodGet, host, path).StatusCode; got != want {
				t.Errorf("GET %s for host %q: %d, want %d", path, host, got, want)
			}
		}
	}
}

func TestPagesOfOtherOriginsGetNothing(t *testing.T) {
	handler, _ := handlerFor(t, 0)
	for _, tt := range []struct {
		name, path string
		header     []string
		want       int
	}{
		{"a program", "/state", nil, 200},
		{"typed in", "/state", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		{"our page", "/state", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"our page, with an origin", "/state", []string{"Origin", "http://127.0.0.1:14000"}, 200},
		{"a link from elsewhere to the page", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		{"a frame elsewhere", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"a script elsewhere reads the page", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Origin", "http://evil.example"}, 403},
		{"an image elsewhere", "/debug/pprof/profile", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 403},
		{"another port of localhost", "/connections", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"another origin, in an old browser", "/state", []string{"Origin", "http://127.0.0.1:14001"}, 403},
		{"an opaque origin", "/state", []string{"Origin", "null"}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := request(handler, http.MethodGet, "127.0.0.1:14000", tt.path, tt.header...); got.StatusCode != tt.want {
				t.Errorf("%d, want %d", got.StatusCode, tt.want)
			}
		})
	}
}

func TestEachAnswerHasTheHeadersThatProtectIt(t *testing.T) {
	handler, _ := handlerFor(t, 3)
	for _, path := range []string{"/", "/configuration", "/state", "/servers", "/connections", "/failures", "/history", "/debug/pprof/", "/nothing"} {
		got := request(handler, http.MethodGet, "127.0.0.1:14000", path)
		if cache := got.Header.Get("Cache-Control"); cache != "no-store" {
			t.Errorf("%s may be kept: %q", path, cache)
		}
		if policy := got.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s has the policy %q", path, policy)
		}
		for name := range got.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s allows other origins by %s", path, name)
			}
		}
	}
}

func TestADrainNeedsEverythingThatOnlyThePageHas(t *testing.T) {
	const host, json = "127.0.0.1:14000", "application/json"
	handler, drains := handlerFor(t, 0)
	for _, tt := range []struct {
		name   string
		method string
		header []string
		want   int
	}{
		{"no token", http.MethodPost, []string{"Content-Type", json}, 403},
		{"a wrong token", http.MethodPost, []string{"Content-Type", json, tokenHeader, "the-tokem"}, 403},
		{"a form's content type", http.MethodPost, []string{"Content-Type", "text/plain", tokenHeader, token}, 415},
		{"no content type", http.MethodPost, []string{tokenHeader, token}, 415},
		{"another origin that knows the token", http.MethodPost, []string{"Content-Type", json, tokenHeader, token, "Origin", "http://evil.example"}, 403},
		{"another site that knows the token", http.MethodPost, []string{"Content-Type", json, tokenHeader, token, "Sec-Fetch-Site", "cross-site"}, 403},
		{"a link", http.MethodGet, []string{tokenHeader, token}, 405},
		{"a preflight", http.MethodOptions, []string{"Origin", "http://" + host, "Access-Control-Request-Method", "POST"}, 405},
	} {
		if got := request(handler, tt.method, host, "/drain", tt.header...); got.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got.StatusCode, tt.want)
		}
	}
	if len(*drains) > 0 {
		t.Fatalf("a drain began: %q", *drains)
	}
	right := []string{"Content-Type", json, tokenHeader, token, "Origin", "http://" + host, "Sec-Fetch-Site", "same-origin"}
	if got := request(handler, http.MethodPost, host, "/drain", right...); got.StatusCode != http.StatusAccepted || len(*drains) != 1 {
		t.Errorf("the page cannot drain: %d, %q", got.StatusCode, *drains)
	}
}

func TestNothingElseChangesState(t *testing.T) {
	handler, _ := handlerFor(t, 0)
	for _, path := range []string{"/", "/configuration", "/state", "/servers", "/connections", "/failures", "/history", "/debug/pprof/", "/debug/pprof/symbol"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			if got := request(handler, method, "127.0.0.1:14000", path); got.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, got.StatusCode)
			}
		}
	}
}

func TestConnectionsAreOneDocument(t *testing.T) {
	for _, n := range []int{0, 1, burst, 3*burst + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			handler, _ := handlerFor(t, n)
			var got status.Connections
			decoder := json.NewDecoder(request(handler, http.MethodGet, "localhost", "/connections").Body)
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&got); err != nil {
				t.Fatal(err)
			}
			if got.Instance != "instance" || got.Now.IsZero() || len(got.Connections) != n || n > 0 && got.Connections[n-1].ID != uint64(n-1) {
				t.Errorf("got instance %q, time %v and %d connections, want %d", got.Instance, got.Now, len(got.Connections), n)
			}
		})
	}
}

// TestConnectionsAreWrittenAsJSONWrites: each field is there, whatever it holds.
func TestConnectionsAreWrittenAsJSONWrites(t *testing.T) {
	full := status.Connection{
		ID: 1 << 63, Source: "10.96.0.10:33774", Destination: "[fd00::1]:9100", Server: "a \"quoted\" \\ name\n<é>", Exit: "exit.example:9443", DialID: "4611686018427387904",
		ConnectionID: "7", State: status.ConnectionOpen, Accepted: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC), DialSeconds: 0.0625,
		SentBytes: 1 << 40, ReceivedBytes: -1, HeldBytes: 3, IdleSeconds: 12345.5,
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[status.Connection]()) {
		if reflect.ValueOf(full).FieldByIndex(field.Index).IsZero() {
			t.Errorf("the example has no %s", field.Name)
		}
	}
	for _, want := range []status.Connection{full, {}} {
		var got status.Connection
		decoder := json.NewDecoder(bytes.NewReader(appendConnection(nil, &want)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	ours, theirs := map[string]any{}, map[string]any{}
	text, err := json.Marshal(status.Connection{})
	if err := errors.Join(err, json.Unmarshal(text, &theirs), json.Unmarshal(appendConnection(nil, &status.Connection{}), &ours)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("an empty connection (-encoding/json +ours):\n%s", diff)
	}
}

func TestThePageHasTheToken(t *testing.T) {
	handler, _ := handlerFor(t, 0)
	page, err := io.ReadAll(request(handler, http.MethodGet, "localhost", "/").Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), `"`+token+`"`) {
		t.Errorf("the page cannot drain:\n%s", page)
	}
}
