// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"context"
	"crypto/x509"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// diary notes when each line was logged, its level and its subject.
type diary struct {
	slog.Handler
	began   time.Time
	entries []string
}

func (d *diary) Enabled(context.Context, slog.Level) bool { return true }

func (d *diary) Handle(_ context.Context, r slog.Record) error {
	about := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "subject" {
			about = a.Value.String()
		}
		return true
	})
	d.entries = append(d.entries, strings.Join([]string{r.Time.Sub(d.began).String(), r.Level.String(), about}, " "))
	return nil
}

// TestExpiryIsWarnedOf: there are warnings before the end, at the end, and once a day,
// with or without dials. A renewal ends them.
func TestExpiryIsWarnedOf(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name       string
		age        time.Duration // of both certificates at the start
		client, ca time.Duration // their ends, from the start
		renewed    time.Duration // when the client's certificate is renewed, with the same life; 0 means never
		during     time.Duration
		want       []string
	}{
		{"a year is warned of in its last week", 355 * day, 10 * day, 3650 * day, 0, 6 * day, []string{
			"72h1m0s WARN CN=client", "96h1m0s WARN CN=client", "120h1m0s WARN CN=client",
		}},
		{"a day in its last quarter, and again when it is over", 0, day, 3650 * day, 0, 3*day + time.Hour, []string{
			"18h1m0s WARN CN=client", "24h1m0s ERROR CN=client", "48h1m0s ERROR CN=client", "72h1m0s ERROR CN=client",
		}},
		{"a renewed one is not", 0, day, 3650 * day, 20 * time.Hour, 40 * time.Hour, []string{
			"18h1m0s WARN CN=client", "20h0m0s INFO ", "38h0m0s WARN CN=client",
		}},
		{"a CA too", 0, 3650 * day, day, 0, day + time.Hour, []string{
			"18h1m0s WARN CN=CA", "24h1m0s ERROR CN=CA",
		}},
		{"one that lives long is not", 0, 365 * day, 3650 * day, 0, 2 * day, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVolume(t, newIdentity(t, "client", -tt.age, tt.client), newIdentity(t, "CA", -tt.age, tt.ca))
				d := &diary{began: time.Now()}
				v.Files.log = slog.New(d)
				ctx, cancel := context.WithTimeout(t.Context(), tt.during)
				defer cancel()
				if tt.renewed > 0 {
					time.AfterFunc(tt.renewed-time.Second, func() {
						id := newIdentity(t, "client", 0, tt.client)
						v.write("client.key", id.key)
						v.write("client.crt", id.cert)
					})
				}
				must(t, v.Watch(ctx))
				if diff := cmp.Diff(tt.want, d.entries); diff != "" {
					t.Errorf("time since the start, level and subject of what is logged (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestStageOf: a certificate is due in its last 60 days, or in the last third of a shorter
// life. It is urgent in its last week, or in the last quarter of a shorter life.
func TestStageOf(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now()
	for _, tt := range []struct {
		life, left time.Duration
		want       Stage
	}{
		{365 * day, 61 * day, FarFromEnd},
		{365 * day, 59 * day, IsDue},
		{365 * day, 8 * day, IsDue},
		{365 * day, 6 * day, IsUrgent},
		{90 * day, 59 * day, FarFromEnd},
		{90 * day, 31 * day, FarFromEnd},
		{90 * day, 29 * day, IsDue},
		{20 * day, 6 * day, IsDue},
		{20 * day, 4 * day, IsUrgent},
		{day, 9 * time.Hour, FarFromEnd},
		{day, 7 * time.Hour, IsDue},
		{day, 5 * time.Hour, IsUrgent},
		{day, -time.Hour, IsOver},
	} {
		end := now.Add(tt.left)
		c := &x509.Certificate{NotBefore: end.Add(-tt.life), NotAfter: end}
		if got := StageOf(c, now); got != tt.want || Due(c, now) != (tt.want >= IsDue) {
			t.Errorf("of a life of %s, %s are left: stage %d, want %d; due is %t", tt.life, tt.left, got, tt.want, Due(c, now))
		}
	}
}

// TestNextToExpire: of a client's chain every certificate counts, of a bundle only
// those that are valid.
func TestNextToExpire(t *testing.T) {
	gone, near, far := newIdentity(t, "gone", -2*time.Hour, -time.Hour), newIdentity(t, "near", -time.Hour, time.Hour), newIdentity(t, "far", -time.Hour, 9*time.Hour)
	join := func(ids ...identity) (bundle []byte) {
		for _, id := range ids {
			bundle = append(bundle, id.cert...)
		}
		return bundle
	}
	for _, tt := range []struct {
		name string
		data [][]byte // a bundle, or a chain and its key
		want string
	}{
		{"a chain whose end expires first", [][]byte{join(far, near), far.key}, "near"},
		{"a chain whose end has expired", [][]byte{join(far, near, gone), far.key}, "gone"},
		{"a bundle in rotation", [][]byte{join(gone, far, near)}, "near"},
		{"a bundle that has expired", [][]byte{join(gone)}, "gone"},
	} {
		parse := parsePair
		if len(tt.data) == 1 {
			parse = parseRoots
		}
		p, err := parse(tt.data)
		must(t, err)
		if got := p.next(time.Now()).Subject.CommonName; got != tt.want {
			t.Errorf("%s: the next to expire is %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestExpiryIsTold: expires is called with the end of the pair in use, and never
// without a pair.
func TestExpiryIsTold(t *testing.T) {
	first, second := newIdentity(t, "first", -time.Hour, time.Hour), newIdentity(t, "second", -time.Hour, 2*time.Hour)
	v := newVolume(t, first, first)
	notAfter := func(id identity) []float64 {
		p, err := parsePair([][]byte{id.cert, id.key})
		must(t, err)
		return []float64{float64(p.chain[0].NotAfter.Unix())}
	}
	want := func(when string, want []float64) {
		t.Helper()
		v.remind(t.Context(), time.Now())
		if diff := cmp.Diff(want, v.expiry); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	want("at first", notAfter(first))
	v.write("client.crt", second.cert)
	want("with a half-written pair", notAfter(first))
	v.write("client.key", second.key)
	want("with another pair", notAfter(second))

	v.expiry = nil
	v.read(tunnel.TLS{CAFile: v.path("ca.crt")})
	want("without a client certificate", nil)
}
