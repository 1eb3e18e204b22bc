// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/quota"
)

// testQueue is a queue with its expected content.
type testQueue struct {
	*queue
	in, out int // bytes so far
	over    bool
	evicted bool
}

// letters returns n bytes of the test stream, from offset at on.
func letters(at, n int) []byte {
	const period = 251
	p := make([]byte, period)
	for i := range p {
		p[i] = byte(i)
	}
	return bytes.Repeat(p, n/period+2)[at%period:][:n]
}

// FuzzQueue applies adds, drops and closes to queues that share a limit. Bytes keep
// their order. The accounts always equal what is held. The limit holds, and the queue
// that holds the most is evicted first.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0x00, 0x41, 0x82, 0x03, 0x0c, 0x0d})
	f.Add([]byte{0x03, 0x03, 0x03, 0x43, 0x83, 0x83, 0x83, 0x83, 0x0f, 0x4f})
	f.Add([]byte{0x02, 0x08, 0x02, 0x0a, 0x02, 0x0b, 0x0c, 0x02})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			return
		}
		const total = 8 * segmentBytes
		buffers := NewBuffers(total, quota.New(total))
		queues := make([]*testQueue, 4)
		var evicted []*testQueue
		for i := range queues {
			h := &testQueue{}
			h.queue = newQueue(buffers, buffers.quota.Open(func() {
				h.evicted = true
				evicted = append(evicted, h)
			}))
			queues[i] = h
		}
		for _, b := range script {
			h, size := queues[b>>6], []int{1, 100, segmentBytes - 1, segmentBytes, 3*segmentBytes + 7, 0, segmentBytes / 2, 5}[b&7]
			most := greatest(queues).account.Held()
			accounts := map[*testQueue]int{}
			for _, q := range queues {
				accounts[q] = q.account.Held()
			}
			evicted = nil
			switch {
			case b&0x38 == 0x38:
				h.close()
				h.over = true
			case b&8 == 0:
				h.give(size)
			default:
				h.take(t, size)
			}
			check(t, buffers, total, queues)
			if len(evicted) > 1 || (len(evicted) == 1 && accounts[evicted[0]] != most && evicted[0] != h) {
				t.Fatalf("%d queues had to go, or not the one that held the most", len(evicted))
			}
		}
		for _, h := range queues {
			h.close()
		}
		if buffers.Held() != 0 {
			t.Fatalf("%d bytes count after the end of all", buffers.Held())
		}
	})
}

// give adds n bytes.
func (h *testQueue) give(n int) {
	p := letters(h.in, n)
	h.add(p)
	clear(p) // the queue holds a copy
	if !h.over {
		h.in += n
	}
}

// take drops up to n bytes, as the writing goroutine does.
func (h *testQueue) take(t *testing.T, n int) {
	t.Helper()
	p := h.head()
	if (len(p) == 0) != (h.over || h.in == h.out) {
		t.Fatalf("the head has %d bytes, of %d that are held", len(p), h.in-h.out)
	}
	n = min(n, len(p))
	if !bytes.Equal(p[:n], letters(h.out, n)) {
		t.Fatalf("the bytes from %d to %d are not those that were added", h.out, h.out+n)
	}
	if n > 0 {
		h.drop(n)
		h.out += n
	}
}

func greatest(queues []*testQueue) *testQueue {
	return slices.MaxFunc(queues, func(a, b *testQueue) int { return a.account.Held() - b.account.Held() })
}

func check(t *testing.T, b *Buffers, total int, queues []*testQueue) {
	t.Helper()
	sum := 0
	for i, h := range queues {
		want := len(h.segments) * segmentBytes
		if h.evicted {
			want = 0
		}
		if h.account.Held() != want {
			t.Fatalf("queue %d holds %d segments, and its account is %d", i, len(h.segments), h.account.Held())
		}
		if !h.over && h.size() != h.in-h.out {
			t.Fatalf("queue %d says that it holds %d bytes, want %d", i, h.size(), h.in-h.out)
		}
		sum += h.account.Held()
	}
	if b.Held() != sum || sum > total {
		t.Fatalf("%d bytes are held, accounts say %d, the bound is %d", b.Held(), sum, total)
	}
}

// TestQueueWhileFlushing: the same while adding and writing run concurrently.
func TestQueueWhileFlushing(t *testing.T) {
	buffers := NewBuffers(defaults.ConnectionBuffer, quota.New(defaults.TotalBuffer))
	h := &testQueue{}
	h.queue = newQueue(buffers, buffers.quota.Open(func() { t.Error("evicted") }))
	var flushing sync.WaitGroup
	for i := range 20_000 {
		p := letters(h.in, i%777)
		h.in += len(p)
		if !h.add(p) {
			continue
		}
		flushing.Go(func() {
			for p := h.head(); len(p) > 0; p = h.head() {
				if !bytes.Equal(p, letters(h.out, len(p))) {
					t.Errorf("the bytes from %d on are not those that were added", h.out)
				}
				h.out += len(p)
				h.drop(len(p))
			}
		})
	}
	flushing.Wait()
	h.close()
	if h.in != h.out || buffers.Held() != 0 {
		t.Errorf("%d of %d bytes came out; %d bytes still count", h.out, h.in, buffers.Held())
	}
}
