// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// record makes the records again, as root, from TCP_INFO of this machine's kernel. It
// runs as long as the recorded connections did.
var record = flag.Bool("record", false, "write testdata/acks again")

// sample is a part of TCP_INFO at one time. A record has a sample for each change;
// lastAck grows in between.
type sample struct {
	at                       uint32 // in milliseconds
	unacked, notSent, window uint32
	acked                    uint64
	retransmits, probes      uint8
	resent                   uint32
	lastAck                  uint32 // milliseconds before at
}

func (s *sample) fields() []any {
	return []any{&s.at, &s.unacked, &s.notSent, &s.window, &s.acked, &s.retransmits, &s.probes, &s.resent, &s.lastAck}
}

const sampleFormat = "%d %d %d %d %d %d %d %d %d\n"

func sampleOf(at time.Duration, i *unix.TCPInfo) sample {
	return sample{
		at: uint32(at.Milliseconds()), unacked: i.Unacked, notSent: i.Notsent_bytes, window: i.Snd_wnd, acked: i.Bytes_acked,
		retransmits: i.Retransmits, probes: i.Probes, resent: i.Total_retrans, lastAck: i.Last_ack_recv,
	}
}

// info returns the TCP_INFO at a time before the next sample.
func (s *sample) info(at time.Duration) *unix.TCPInfo {
	return &unix.TCPInfo{
		Unacked: s.unacked, Notsent_bytes: s.notSent, Snd_wnd: s.window, Bytes_acked: s.acked,
		Retransmits: s.retransmits, Probes: s.probes, Total_retrans: s.resent, Last_ack_recv: s.lastAck + uint32(at.Milliseconds()) - s.at,
	}
}

// records are uploads to a server that reads nothing.
var records = map[string]struct {
	pause time.Duration // until the server reads on, or vanishes
	loss  bool          // the server vanishes
}{
	"pause":               {pause: 5 * time.Minute},
	"vanishes":            {pause: 0, loss: true},
	"vanishes-in-a-pause": {pause: 30 * time.Second, loss: true},
}

func readRecord(t *testing.T, name string) (samples []sample) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "acks", name))
	must(t, err)
	defer file.Close()
	in := bufio.NewReader(file)
	for {
		var s sample
		_, err := fmt.Fscanf(in, sampleFormat, s.fields()...)
		if err == io.EOF {
			return samples
		}
		must(t, err)
		samples = append(samples, s)
	}
}

// TestRecords: a record is longer than its pause, and ends as its upload did. -record
// writes all of them again.
func TestRecords(t *testing.T) {
	if *record {
		t.Run("write", writeRecords) // waits for all of them
	}
	for name, r := range records {
		samples := readRecord(t, name)
		last := samples[len(samples)-1]
		if at := time.Duration(last.at) * time.Millisecond; at < r.pause {
			t.Errorf("%s ends after %s, within its pause of %s", name, at, r.pause)
		}
		if open := last.unacked+last.notSent > 0; open != r.loss {
			t.Errorf("%s: at the end something is outstanding: %t, want %t", name, open, r.loss)
		}
	}
}

func writeRecords(t *testing.T) {
	netnstest.RequireRoot(t)
	for name, r := range records {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := dialFar(t)
			u.conn.watch.stop() // it would end the recorded connection
			if r.pause == 0 {
				u.vanish(t)
				u.write()
				u.awaitInfo(t, func(i *unix.TCPInfo) bool { return i.Unacked > 0 })
			} else {
				u.write()
				u.awaitPause(t)
			}
			file, err := os.Create(filepath.Join("testdata", "acks", name))
			must(t, err)
			defer file.Close()
			var last sample
			began, over := time.Now(), r.pause == 0
			for at := time.Duration(0); at < r.pause+7*time.Minute; at += ackInterval {
				time.Sleep(time.Until(began.Add(at)))
				if at >= r.pause && !over {
					over = true
					if r.loss {
						u.vanish(t)
					} else {
						u.read()
					}
				}
				info, err := sockio.TCPInfo(u.conn.raw)
				must(t, err)
				s := sampleOf(at, info)
				if goesOn := last.info(at); !sameButAges(last, s) || s.lastAck+100 < goesOn.Last_ack_recv {
					_, err := fmt.Fprintf(file, sampleFormat, s.at, s.unacked, s.notSent, s.window, s.acked, s.retransmits, s.probes, s.resent, s.lastAck)
					must(t, err)
					last = s
				}
				if s.unacked == 0 && s.notSent == 0 || s.retransmits > 6 || r.loss && s.probes > 3 {
					return
				}
			}
		})
	}
}

func sameButAges(a, b sample) bool {
	a.at, a.lastAck, b.at, b.lastAck = 0, 0, 0, 0
	return a == b
}

// farUpload is a connection to a peer in another namespace.
type farUpload struct {
	conn    *watchedConn
	peer    *net.TCPConn
	far     *netnstest.NS
	written chan error
}

const uploadBytes = 16 << 20

// write writes until it fails or everything is written.
func (u *farUpload) write() {
	go func() {
		_, err := u.conn.Write(make([]byte, uploadBytes))
		u.written <- err
	}()
}

// awaitPause waits until the peer has no room for more.
func (u *farUpload) awaitPause(t *testing.T) {
	t.Helper()
	u.awaitInfo(t, func(i *unix.TCPInfo) bool { return i.Unacked == 0 && i.Notsent_bytes > 0 })
}

func (u *farUpload) awaitInfo(t *testing.T, condition func(*unix.TCPInfo) bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		info, err := sockio.TCPInfo(u.conn.raw)
		must(t, err)
		if condition(info) {
			return
		}
	}
	t.Fatal("the connection never came into the state that was waited for")
}

// dialFar connects to a peer that does nothing yet. The watch of the connection ends
// with the test.
func dialFar(t *testing.T) *farUpload {
	t.Helper()
	near, far := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(t, near, far, netnstest.IPv4)
	u := &farUpload{far: far, written: make(chan error, 1)}
	var (
		listener net.Listener
		err      error
	)
	far.Do(t, func() { listener, err = net.Listen("tcp", netnstest.RouterAddress(netnstest.IPv4).String()+":0") })
	must(t, err)
	defer listener.Close()
	var conn net.Conn
	near.Do(t, func() {
		dialer := net.Dialer{KeepAliveConfig: keepalive(5 * time.Second), FallbackDelay: -1}
		conn, err = dialer.Dial("tcp", listener.Addr().String())
	})
	must(t, err)
	watch := new(ackWatch)
	t.Cleanup(watch.stop)
	u.conn = newWatchedConn(conn.(*net.TCPConn), watch)
	t.Cleanup(func() { _ = u.conn.Close() })
	peer, err := listener.Accept()
	must(t, err)
	u.peer = peer.(*net.TCPConn)
	t.Cleanup(func() { _ = u.peer.Close() })
	return u
}

// read lets the peer read everything.
func (u *farUpload) read() {
	go func() { _, _ = io.Copy(io.Discard, u.peer) }()
}

// vanish drops all packets to the peer and from it.
func (u *farUpload) vanish(t *testing.T) {
	t.Helper()
	u.far.Run(t, "iptables", "-w", "-A", "INPUT", "-i", "pod0", "-j", "DROP")
	u.far.Run(t, "iptables", "-w", "-A", "OUTPUT", "-o", "pod0", "-j", "DROP")
}
