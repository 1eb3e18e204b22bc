// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"net"
	"runtime"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestMemoryOfAConnection: a client's connection takes no more memory than the exit's chart
// counts for it, also if the client reads nothing while its targets send. Its part of
// --total-buffer is not in it.
func TestMemoryOfAConnection(t *testing.T) {
	const connections, streams = 16, 4
	const counted = 512 << 10 // in charts/proxy-exit/templates/_checks.tpl, together with 32 KiB for each stream
	block := make([]byte, 64<<10)
	source := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		for {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	})
	e := newExit(t, allowLoopback, func(c *Config) { c.Limits.Buffer = 0 })
	before := memoryInUse()
	for range connections {
		r := e.rawEarly(t, "app")
		_ = r.framer.WriteSettingsAck()
		_ = r.framer.WriteWindowUpdate(0, 1<<30)
		for id := uint32(1); id < 2*streams; id += 2 {
			if err := r.headers(id, connectBlock(source)); err != nil {
				t.Fatal(err)
			}
			_ = r.framer.WriteWindowUpdate(id, 1<<30)
		}
	}
	var each, last int64
	waittest.Eventually(t, "that the exit holds for each client what it may", func() bool {
		last, each = each, (memoryInUse()-before)/connections
		return each > counted/2 && each < last+last/100
	})
	if each > counted+streams*32<<10 {
		t.Errorf("a connection with %d streams takes %d KiB, and %d KiB are counted", streams, each>>10, (counted+streams*32<<10)>>10)
	}
}

// memoryInUse returns how much memory of the process is in use, stacks included, in bytes.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC() // pools keep what they have for one collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
