// SPDX-License-Identifier: Apache-2.0

// Package quota bounds the memory that peers can make connections hold.
//
// Whatever holds bytes for a peer has an Account and says how many: bytes that an app
// has not taken, bytes that were received and not passed on, a message of which not
// all has arrived, an upload for which the server has no room.
//
//	q := quota.New(256 << 20)
//	account := q.Open(func() { evictions.Go(connection.reset) })
//	defer account.Close()
//	account.Take(len(segment))
//	…
//	account.Give(len(segment))
//
// Where all accounts together hold more than the quota, the one that holds the most
// has to go: it is told so, and what it holds does not count any more. So the
// accounts hold no more than the quota, and what those that were told still have to
// free.
//
// It never waits, refuses or frees anything. What is held by whom, and what it means
// to go, is for the holders to know.
package quota

import (
	"sync"
	"sync/atomic"
)

// Quota is what all accounts may hold together. It is safe for concurrent use.
type Quota struct {
	limit    int64        // bytes
	held     atomic.Int64 // bytes; changes with an account's, under its mu
	reserved atomic.Int64 // bytes

	mu       sync.Mutex
	accounts map[*Account]struct{} // that are open
}

// New returns a quota of limit bytes.
func New(limit int) *Quota {
	return &Quota{limit: int64(limit), accounts: map[*Account]struct{}{}}
}

// Held returns how many bytes are held now, what is reserved not included.
func (q *Quota) Held() int { return int(q.held.Load()) }

// Reserve takes n bytes of the quota for something that many connections need, and no
// single one of them can be made to go for. The returned function gives them back.
func (q *Quota) Reserve(n int) (free func()) {
	q.reserved.Add(int64(n))
	if q.left() < 0 {
		q.shrink()
	}
	return func() { q.reserved.Add(-int64(n)) }
}

// left returns how many bytes more may be held.
func (q *Quota) left() int64 { return q.limit - q.reserved.Load() - q.held.Load() }

// Scarce reports whether more than half of the quota is used. Whoever can do with
// less memory should.
func (q *Quota) Scarce() bool { return q.left() < q.limit/2 }

// Room reports whether n bytes more would keep the quota.
func (q *Quota) Room(n int) bool { return q.left() >= int64(n) }

// Open returns an account that holds nothing. evict is called at most once, where the
// account has to go, from a caller of any account's Take. It must return at once and
// take no lock: what it has to do belongs into a goroutine.
func (q *Quota) Open(evict func()) *Account {
	a := &Account{quota: q, evict: evict}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.accounts[a] = struct{}{}
	return a
}

// shrink evicts accounts until the quota is kept, or none is left that holds
// anything.
func (q *Quota) shrink() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.left() < 0 {
		var largest *Account
		most := 0
		for a := range q.accounts {
			if held := a.Held(); held > most {
				largest, most = a, held
			}
		}
		if largest == nil {
			return
		}
		delete(q.accounts, largest)
		largest.end()
		largest.evict()
	}
}

// Account is what one holder holds. It is safe for concurrent use. A nil Account counts
// nothing.
type Account struct {
	quota *Quota
	evict func()

	mu    sync.Mutex
	held  int  // bytes; below zero where they were given back before they were taken
	ended bool // evicted or closed: nothing counts any more
}

// Held returns how many bytes the account holds.
func (a *Account) Held() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

// Take counts n more bytes. It never fails: where that is too much for all, the
// account that holds the most is told to go, which may be this one.
func (a *Account) Take(n int) {
	if a == nil {
		return
	}
	a.add(n)
	if a.quota.left() < 0 {
		a.quota.shrink()
	}
}

// Give counts n bytes less.
func (a *Account) Give(n int) {
	if a != nil {
		a.add(-n)
	}
}

func (a *Account) add(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.held += n
	a.quota.held.Add(int64(n))
}

// end gives back what is held, for good.
func (a *Account) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.quota.held.Add(-int64(a.held))
	a.held, a.ended = 0, true
}

// Close gives back what is held, for good. When Close has returned, evict is neither
// running nor called any more.
func (a *Account) Close() {
	a.quota.mu.Lock()
	defer a.quota.mu.Unlock()
	delete(a.quota.accounts, a)
	a.end()
}
