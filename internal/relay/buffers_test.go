// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// endlessTunnel is a tunnel whose target sends as fast as it is received, without end.
type endlessTunnel struct {
	*fakeTunnel
	packet []byte
}

func newEndlessTunnel(t *testing.T) *endlessTunnel {
	return &endlessTunnel{fakeTunnel: newFakeTunnel(t), packet: bytes.Repeat([]byte("x"), 4<<10)}
}

func (e *endlessTunnel) Receive() ([]byte, error) {
	select {
	case <-e.closed:
		return nil, tunnel.ErrClosed
	default:
		return e.packet, nil
	}
}

// TestSlowReader: an app that does not read is received until its buffer is full. Then
// it is reset, and nothing is held for it any more.
func TestSlowReader(t *testing.T) {
	buffers := relay.NewBuffers(1<<20, quota.New(16<<20))
	tun := newEndlessTunnel(t)
	r := startWith(t, tun, relay.Options{Buffers: buffers})
	r.tun = tun.fakeTunnel
	r.finish(t, relay.SlowReader)
	if n := buffers.Held(); n != 0 {
		t.Errorf("%d bytes are still held back after the end", n)
	}
	if _, err := io.Copy(io.Discard, r.app); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the app saw %v, want a reset", err)
	}
}

// TestTotalBuffer: if all connections together hold too much, the one that holds the
// most is reset, and no other.
func TestTotalBuffer(t *testing.T) {
	buffers := relay.NewBuffers(64<<20, quota.New(8<<20))
	small := start(t, relay.Options{Buffers: buffers})
	const little = 4 << 20
	for range little / (4 << 10) {
		small.tun.incoming <- bytes.Repeat([]byte("y"), 4<<10)
	}
	waittest.Eventually(t, "the little one to be received", func() bool { return len(small.tun.incoming) == 0 })
	tun := newEndlessTunnel(t)
	large := startWith(t, tun, relay.Options{Buffers: buffers})
	large.tun = tun.fakeTunnel
	large.finish(t, relay.SlowReader)
	if n := buffers.Held(); n > 8<<20 {
		t.Errorf("%d bytes are held back, more than --total-buffer", n)
	}
	small.tun.end <- io.EOF
	got, err := io.ReadAll(small.app)
	if len(got) != little || err != nil {
		t.Errorf("the app that held less got %d bytes and %v, want all %d", len(got), err, little)
	}
	_ = small.app.Close()
	small.finish(t, relay.TargetClosed)
	if n := buffers.Held(); n != 0 {
		t.Errorf("%d bytes are still held back after the end", n)
	}
}

// TestSlowAppGetsEverything: held bytes arrive in order, before the end.
func TestSlowAppGetsEverything(t *testing.T) {
	buffers := relay.NewBuffers(64<<20, quota.New(64<<20))
	r := start(t, relay.Options{Buffers: buffers})
	want := make([]byte, 0, 16<<20)
	for i := 0; len(want) < cap(want); i++ {
		want = append(want, byte(i), byte(i>>8), byte(i>>16), byte(i>>24))
	}
	go func() {
		for p := want; len(p) > 0; p = p[16<<10:] {
			r.tun.incoming <- p[:16<<10]
		}
		r.tun.end <- io.EOF
	}()
	waittest.Eventually(t, "bytes to be held back", func() bool { return buffers.Held() > 0 })
	got, err := io.ReadAll(r.app)
	if !bytes.Equal(got, want) || err != nil {
		t.Errorf("the app got %d bytes, or not the right ones, and %v; want %d", len(got), err, len(want))
	}
	_ = r.app.Close()
	if res := r.finish(t, relay.TargetClosed); res.Received != int64(len(want)) {
		t.Errorf("%d bytes counted, want %d", res.Received, len(want))
	}
}

// TestWaitingUploadsAreBounded: uploads that wait for their targets count as held. If
// many wait, each gets a smaller buffer. None is reset for it.
func TestWaitingUploadsAreBounded(t *testing.T) {
	const limit, uploads = 8 << 20, 300
	q := quota.New(limit)
	buffers := relay.NewBuffers(1<<20, q)
	var all []*testRelay
	for range uploads {
		tun := newFakeTunnel(t)
		tun.onSend = func() { <-tun.closed }
		r := startWith(t, tun, relay.Options{Buffers: buffers})
		r.tun = tun
		all = append(all, r)
		held := buffers.Held()
		if _, err := r.app.Write(make([]byte, 256<<10)); err != nil {
			t.Fatal(err)
		}
		waittest.Eventually(t, "the upload to wait for its target", func() bool { return buffers.Held() > held })
	}
	if held := buffers.Held(); held > limit {
		t.Errorf("%d uploads hold %d bytes, more than the quota of %d", uploads, held, limit)
	}
	for _, r := range all {
		select {
		case res := <-r.result:
			t.Errorf("an upload had to go, with reason %s", res.Reason)
		default:
		}
		r.cancel()
		r.finish(t, relay.Drain)
	}
	if n := buffers.Held(); n != 0 {
		t.Errorf("%d bytes are held after the end", n)
	}
}
