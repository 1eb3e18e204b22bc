// SPDX-License-Identifier: Apache-2.0

// Package quota limits the memory that peers can make connections hold.
//
// Each holder of bytes for a peer has an Account, and counts its bytes there. Examples:
//
//   - bytes that an app has not taken
//   - received bytes that were not passed on
//   - a message of which not all has arrived
//   - an upload that the server does not accept yet
//
// A holder uses its account in this way:
//
//	q := quota.New(256 << 20)
//	account := q.Open(func() { evictions.Go(connection.reset) })
//	defer account.Close()
//	account.Take(len(segment))
//	…
//	account.Give(len(segment))
//
// If all accounts together hold more than the quota, the account that holds the most is
// evicted: its evict function is called, and its bytes do not count any more. So the
// accounts hold at most the quota, plus what evicted holders have not freed yet.
//
// It never waits, refuses or frees anything. It does not know what is held, or what a
// holder does when it is evicted.
package quota

import (
	"sync"
	"sync/atomic"
)

// Quota limits what all accounts hold together. It is safe for concurrent use.
type Quota struct {
	limit    int64        // bytes
	held     atomic.Int64 // bytes; changes together with an account's, under the account's mu
	lasting  atomic.Int64 // bytes, of held: those of accounts that are never evicted
	reserved atomic.Int64 // bytes
	promised atomic.Int64 // bytes

	mu       sync.Mutex
	accounts map[*Account]struct{} // open accounts that can be evicted
}

// New returns a quota of limit bytes.
func New(limit int) *Quota {
	return &Quota{limit: int64(limit), accounts: map[*Account]struct{}{}}
}

// Limit returns how many bytes all accounts may hold together.
func (q *Quota) Limit() int { return int(q.limit) }

// Held returns how many bytes are held now, without reserved bytes.
func (q *Quota) Held() int { return int(q.held.Load()) }

// Reserve takes n bytes of the quota for something that many connections need, so that
// no single one can be evicted for it. free returns the bytes.
func (q *Quota) Reserve(n int) (free func()) {
	q.reserved.Add(int64(n))
	if q.overdrawn() {
		q.evictLargest()
	}
	return func() { q.reserved.Add(-int64(n)) }
}

// available returns how many more bytes may be held.
func (q *Quota) available() int64 { return q.limit - q.reserved.Load() - q.held.Load() }

// overdrawn reports whether an account must be evicted. Accounts that are never evicted
// count for at most a half of the quota: others must not all go because these hold too
// much. One of the others may be the connection that carries these.
func (q *Quota) overdrawn() bool {
	lasting := q.lasting.Load()
	return q.reserved.Load()+q.held.Load()-lasting+min(lasting, q.limit/2) > q.limit
}

// Scarce reports whether more than half of the quota is used. A caller that can use
// less memory then should.
func (q *Quota) Scarce() bool { return q.available() < q.limit/2 }

// Room reports whether n more bytes are within the quota.
func (q *Quota) Room(n int) bool { return q.available() >= int64(n) }

// Promise counts n bytes more that peers may send, now or later, and that cannot be refused
// then. It counts nothing, and returns false, if all promises together would be more than
// most. If n is negative, it takes back what was counted, and returns true. Promises do not
// count as held.
func (q *Quota) Promise(n, most int) bool {
	for {
		now := q.promised.Load()
		if n > 0 && now+int64(n) > int64(most) {
			return false
		}
		if q.promised.CompareAndSwap(now, now+int64(n)) {
			return true
		}
	}
}

// Promised returns how many bytes are promised now.
func (q *Quota) Promised() int { return int(q.promised.Load()) }

// Open returns an account that holds nothing. evict is called at most once, if the
// account is evicted. The goroutine that calls it is in any account's Take. So evict
// must return at once and take no lock; its work belongs in another goroutine.
//
// If evict is nil, the account is never evicted. Its holder must limit what it holds
// itself, by Scarce and Room. It makes others go only as far as all such accounts hold a
// half of the quota.
func (q *Quota) Open(evict func()) *Account {
	a := &Account{quota: q, evict: evict}
	if evict == nil {
		return a
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.accounts[a] = struct{}{}
	return a
}

// evictLargest evicts accounts, the largest first, until the quota is kept or no
// account that can be evicted holds anything.
func (q *Quota) evictLargest() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.overdrawn() {
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
		largest.clear()
		largest.evict()
	}
}

// Account counts the bytes of one holder. It is safe for concurrent use. A nil Account
// counts nothing.
type Account struct {
	quota *Quota
	evict func()

	mu    sync.Mutex
	held  int  // bytes; negative if bytes were given back before they were taken
	ended bool // evicted or closed: nothing is counted any more
}

// Held returns how many bytes the account holds.
func (a *Account) Held() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

// Take counts n more bytes. It never fails. If all accounts then hold too much, the one
// that holds the most is evicted, which may be this one.
func (a *Account) Take(n int) {
	if a == nil {
		return
	}
	a.add(n)
	if a.quota.overdrawn() {
		a.quota.evictLargest()
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
	a.count(n)
}

// count counts n bytes more in the quota. The caller holds mu.
func (a *Account) count(n int) {
	a.quota.held.Add(int64(n))
	if a.evict == nil {
		a.quota.lasting.Add(int64(n))
	}
}

// clear returns all bytes of the account to the quota, and ends the counting.
func (a *Account) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count(-a.held)
	a.held, a.ended = 0, true
}

// Close returns all bytes to the quota, and ends the counting. After Close returns,
// evict is neither running nor called any more.
func (a *Account) Close() {
	a.quota.mu.Lock()
	defer a.quota.mu.Unlock()
	delete(a.quota.accounts, a)
	a.clear()
}
