// SPDX-License-Identifier: Apache-2.0

package connectmode

// chanMutex is a mutex that a goroutine may hold while it waits for the network. For
// testing/synctest, a goroutine that waits for a mutex of package sync is not blocked,
// and the clock would stand still. The fuzz test of a connection (fuzz_connect_test.go)
// could not see a Close overtake a Receive.
type chanMutex chan struct{}

func newChanMutex() chanMutex { return make(chanMutex, 1) }

// Lock implements sync.Locker.
func (m chanMutex) Lock() { m <- struct{}{} }

// Unlock implements sync.Locker.
func (m chanMutex) Unlock() { <-m }
