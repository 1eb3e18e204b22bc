// SPDX-License-Identifier: Apache-2.0

// Package spare makes connections to a server ahead of the dials that use them, for
// protocols in which each dial needs a connection of its own.
//
//	pool := spare.New(endpoint, owner, shared)
//	if ready := pool.Take(ctx); ready != nil {
//		dial(ready.Conn) // otherwise on a connection of its own
//	}
//	pool.Replenish()
//
// It also ends connections that are not used any more (Shared.Part). It sends nothing on a spare
// connection, and knows no protocol above TLS.
package spare
