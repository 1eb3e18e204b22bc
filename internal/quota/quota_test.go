// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestTheLargestGoes: the account that holds the most is evicted, and no other. Its
// bytes do not count any more.
func TestTheLargestGoes(t *testing.T) {
	q := New(100)
	var gone []string
	open := func(name string) *Account { return q.Open(func() { gone = append(gone, name) }) }
	small, large := open("small"), open("large")
	free := q.Reserve(45)
	small.Take(10)
	large.Take(30)
	if q.Held() != 40 || len(gone) != 0 || !q.Scarce() {
		t.Fatalf("%d bytes are held, %v had to go", q.Held(), gone)
	}
	small.Take(16)
	if len(gone) != 1 || gone[0] != "large" || q.Held() != 26 {
		t.Fatalf("%d bytes are held, %v had to go; want 26 and the large one", q.Held(), gone)
	}
	large.Give(30)
	large.Take(1000)
	large.Close()
	if q.Held() != 26 || len(gone) != 1 {
		t.Errorf("what was evicted still counts: %d bytes, %v", q.Held(), gone)
	}
	if q.Room(30) || !q.Room(29) {
		t.Error("there is room for 29 bytes, and the quota says otherwise")
	}
	more := q.Reserve(30)
	if len(gone) != 2 || gone[1] != "small" || q.Held() != 0 {
		t.Errorf("%d bytes are held, %v had to go for what is reserved; want the small one", q.Held(), gone)
	}
	small.Close()
	small.Take(1000)
	free()
	more()
	if q.Held() != 0 || q.Scarce() || len(q.accounts) != 0 {
		t.Errorf("%d bytes and %d accounts are left", q.Held(), len(q.accounts))
	}
}

// TestGivenBeforeTaken: bytes may be given back before they are taken.
func TestGivenBeforeTaken(t *testing.T) {
	q := New(100)
	a := q.Open(func() { t.Error("evicted") })
	a.Give(60)
	a.Take(60)
	a.Take(60)
	if a.Held() != 60 || q.Held() != 60 {
		t.Errorf("%d and %d bytes are held, want 60", a.Held(), q.Held())
	}
	a.Close()
}

// TestQuotaHolds: whatever many accounts do concurrently, the quota is kept and the
// sums are right.
func TestQuotaHolds(t *testing.T) {
	const limit, accounts = 2000, 8
	q := New(limit)
	var evictions atomic.Int64
	var all sync.WaitGroup
	for i := range accounts {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range 200 {
				var evicted atomic.Bool
				a := q.Open(func() { evicted.Store(true); evictions.Add(1) })
				held := 0
				for range 100 {
					if n := random.IntN(200); random.IntN(3) > 0 {
						a.Take(n)
						held += n
					} else if n <= held {
						a.Give(n)
						held -= n
					}
					if got := a.Held(); got != held && !evicted.Load() && got != 0 {
						t.Errorf("%d bytes are held, want %d", got, held)
					}
				}
				a.Close()
			}
		})
	}
	all.Wait()
	if q.Held() != 0 || len(q.accounts) != 0 {
		t.Errorf("%d bytes and %d accounts are left", q.Held(), len(q.accounts))
	}
	if evictions.Load() == 0 {
		t.Error("the quota was never reached: this tests nothing")
	}
}

// TestNeverEvicted: an account without an evict function counts, and is never evicted.
// However much it holds, others may hold a half of the quota: one of them may be the
// connection that carries it.
func TestNeverEvicted(t *testing.T) {
	q := New(100)
	lasting := q.Open(nil)
	lasting.Take(150)
	if q.Held() != 150 || lasting.Held() != 150 || q.Room(1) || !q.Scarce() {
		t.Errorf("%d bytes are held", q.Held())
	}
	gone := 0
	other := q.Open(func() { gone++ })
	other.Take(50)
	if gone != 0 || q.Held() != 200 {
		t.Errorf("%d bytes are held, %d accounts had to go; want none", q.Held(), gone)
	}
	other.Take(1)
	if gone != 1 || q.Held() != 150 {
		t.Errorf("%d bytes are held, %d accounts had to go; want the other one", q.Held(), gone)
	}
	lasting.Give(120)
	another := q.Open(func() { gone++ })
	another.Take(70)
	if gone != 1 {
		t.Errorf("%d accounts had to go, though the quota is kept", gone)
	}
	another.Take(1)
	if gone != 2 || q.Held() != 30 {
		t.Errorf("%d bytes are held, %d accounts had to go; want all but the lasting one", q.Held(), gone)
	}
	lasting.Close()
	if q.Held() != 0 || q.lasting.Load() != 0 {
		t.Errorf("%d bytes are held after the end", q.Held())
	}
}

// TestPromises: promises have a limit of their own, and nothing is evicted for them.
func TestPromises(t *testing.T) {
	q := New(100)
	if !q.Promise(30, 40) || q.Promise(11, 40) || !q.Promise(10, 40) || q.Promised() != 40 {
		t.Errorf("%d bytes are promised, want 40", q.Promised())
	}
	if q.Held() != 0 || !q.Room(100) {
		t.Error("promises count as held")
	}
	if !q.Promise(-40, 0) || q.Promised() != 0 {
		t.Errorf("%d bytes are promised at the end", q.Promised())
	}
}
