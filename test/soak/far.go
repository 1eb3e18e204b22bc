// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ports of the targets that follow scripts, in addition to those of package target:
const (
	scriptPort = 7100
	// greetPort sends a greeting before it reads its script, as mail and
	// database servers do.
	greetPort = 7101
	// stallPort is scriptPort for apps that do not read. It makes their logs
	// distinguishable.
	stallPort = 7102
)

// greetID is the connection from whose stream every greeting is taken. When the target
// sends it, it does not know the app's connection yet.
const (
	greetID     = 1
	greetLength = 6000
)

// chunk is how many bytes are read or written at once.
const chunk = 64 << 10

// far is the targets' side: servers in the shoot that follow scripts and keep a record of
// each connection.
type far struct {
	listeners []net.Listener
	tasks     sync.WaitGroup
	closing   chan struct{} // closed when waiting must stop

	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]time.Time
	records map[uint64]*record
	// ghosts counts connections that ended before they sent their script. Their dial was
	// given up, or their app was gone.
	ghosts  int
	strange []error // errors that must never occur at a target
}

func listenFar(listen func(network, address string) (net.Listener, error)) (*far, error) {
	f := &far{closing: make(chan struct{}), conns: map[net.Conn]time.Time{}, records: map[uint64]*record{}}
	for _, port := range []int{scriptPort, greetPort, stallPort} {
		listener, err := listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("target on port %d: %w", port, err), f.close())
		}
		f.listeners = append(f.listeners, listener)
		f.tasks.Go(func() { f.accept(listener, port == greetPort) })
	}
	return f, nil
}

func (f *far) accept(listener net.Listener, greets bool) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			_ = conn.Close()
			return
		}
		f.conns[conn] = time.Now()
		f.mu.Unlock()
		f.tasks.Go(func() {
			f.serve(conn, greets)
			_ = conn.Close()
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.conns, conn)
		})
	}
}

func (f *far) serve(conn net.Conn, greets bool) {
	if greets {
		if _, err := io.CopyN(conn, stream(greetID, toApp), greetLength); err != nil {
			f.ghost()
			return
		}
	}
	in := bufio.NewReaderSize(conn, chunk)
	line, err := in.ReadString('\n')
	if err != nil {
		f.ghost()
		return
	}
	s, err := parseScript(line)
	if err == nil {
		var r *record
		if r, err = f.begin(s); err == nil {
			f.follow(conn, in, r)
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.strange = append(f.strange, fmt.Errorf("%s to %s: %w", conn.RemoteAddr(), conn.LocalAddr(), err))
}

func (f *far) ghost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ghosts++
}

// begin opens the record of a connection. There is only one for each: a dial that is
// tried again has never sent a byte.
func (f *far) begin(s script) (*record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.records[s.id] != nil {
		return nil, fmt.Errorf("connection %d has arrived twice", s.id)
	}
	r := &record{script: s}
	f.records[s.id] = r
	return r, nil
}

// follow does what the script says, and fills in the record at the end.
func (f *far) follow(conn net.Conn, in io.Reader, r *record) {
	check := newChecker(r.script.id, toTarget)
	err := f.rounds(conn, in, r.script, check)
	if err == nil && !r.script.targetCloses {
		// The app may stay for long. No more bytes than the script says may come.
		_, err = io.CopyBuffer(check, onlyReader{in}, make([]byte, 512))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var wrong *wrongByteError
	if errors.As(err, &wrong) {
		r.wrong = wrong
	}
	r.got, r.ended = check.n, time.Now()
}

// onlyReader and onlyWriter hide methods that io.Copy would use instead of Read and
// Write.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

func (f *far) rounds(conn net.Conn, in io.Reader, s script, check *checker) error {
	buffer := make([]byte, min(chunk, max(s.up, s.down, 1)))
	answer := stream(s.id, toApp)
	for range s.rounds {
		// The rest is more than all buffers on the way could hold.
		if err := copyExactly(check, in, s.up/8, buffer); err != nil {
			return err
		}
		f.wait(s.stop)
		if err := copyExactly(check, in, s.up-s.up/8, buffer); err != nil {
			return err
		}
		if err := copyExactly(conn, answer, s.down/2, buffer); err != nil {
			return err
		}
		// The pause gives everything on the way time to see an app's FIN.
		f.wait(s.pause)
		if err := copyExactly(conn, answer, s.down-s.down/2, buffer); err != nil {
			return err
		}
	}
	return nil
}

// wait sleeps, but ends early when the servers close.
func (f *far) wait(d time.Duration) {
	if d == 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-f.closing:
	}
}

// copyExactly is io.CopyN with the caller's buffer.
func copyExactly(to io.Writer, from io.Reader, n int64, buffer []byte) error {
	copied, err := io.CopyBuffer(onlyWriter{to}, io.LimitReader(from, n), buffer)
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// record returns a copy of a connection's record; nil if the connection never arrived.
func (f *far) record(id uint64) *record {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.records[id]
	if r == nil {
		return nil
	}
	copied := *r
	return &copied
}

// oddities returns the errors that must never occur. It also returns how many connections
// ended before they sent their script.
func (f *far) oddities() (strange []error, ghosts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.strange), f.ghosts
}

// open returns how many connections the targets hold.
func (f *far) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// held returns the names of some connections that the targets hold.
func (f *far) held() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for conn, since := range f.conns {
		if len(names) < 5 {
			names = append(names, fmt.Sprintf("%s to %s since %s", conn.RemoteAddr(), conn.LocalAddr(), since.Format(clock)))
		}
	}
	return strings.Join(names, ", ")
}

// close ends the servers and their connections, and waits for both.
func (f *far) close() error {
	var errs []error
	for _, listener := range f.listeners {
		errs = append(errs, listener.Close())
	}
	f.mu.Lock()
	f.closed = true
	close(f.closing)
	for conn := range f.conns {
		_ = conn.Close()
	}
	f.mu.Unlock()
	f.tasks.Wait()
	return errors.Join(errs...)
}
