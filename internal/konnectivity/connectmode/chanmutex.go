// SPDX-License-Identifier: Apache-2.0

package connectmode

// chanMutex is a mutex that may be held over a wait for the network. A goroutine
// that waits for one of package sync is not blocked in the eyes of
// testing/synctest, whose clock would stand still: the fuzz test of a connection
// (fuzz_connect_test.go) could not see a Close overtake a Receive.
type chanMutex chan struct{}

func newChanMutex() chanMutex { return make(chanMutex, 1) }

// Lock implements sync.Locker.
func (t chanMutex) Lock() { t <- struct{}{} }

// Unlock implements sync.Locker.
func (t chanMutex) Unlock() { <-t }
