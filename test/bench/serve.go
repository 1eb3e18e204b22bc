// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// Services of the target. Their answers cost it as little as possible, because the way
// there is what is measured.
const (
	echoPort   = 7100
	sourcePort = 7101
	sinkPort   = 7102
	// metricsPort and the ports after it are what a Prometheus would scrape.
	metricsPort = 20000
)

// serve runs the target. It listens on all addresses, with this many ports to scrape,
// each with this many bytes. It writes one line to ready, and returns when something
// fails.
func serve(ready io.Writer, scraped int, size int) error {
	var group errgroup.Group
	for port, serve := range map[int]func(net.Conn) error{echoPort: echo, sourcePort: source, sinkPort: sink} {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		group.Go(func() error { return accept(l, serve) })
	}
	page := make([]byte, size)
	for i := range page {
		page[i] = 'x'
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(page)))
		_, _ = w.Write(page)
	})
	for i := range scraped {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", metricsPort+i))
		if err != nil {
			return err
		}
		group.Go(func() error { return http.Serve(l, handler) })
	}
	if _, err := fmt.Fprintln(ready, "ready"); err != nil {
		return err
	}
	return group.Wait()
}

func accept(l net.Listener, serve func(net.Conn) error) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = serve(conn) // the driver sees which bytes are missing
		}()
	}
}

func echo(conn net.Conn) error {
	buf := make([]byte, 512) // thousands of connections ask for one byte
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return err
		}
		if n == len(buf) { // more bytes are waiting
			buf = make([]byte, min(2*n, 64<<10))
		}
	}
}

// source reads how many bytes to send, big endian in 8 bytes, and sends them.
func source(conn net.Conn) error {
	n, err := readLength(conn)
	chunk := make([]byte, 256<<10)
	for err == nil && n > 0 {
		var wrote int
		wrote, err = conn.Write(chunk[:min(n, int64(len(chunk)))])
		n -= int64(wrote)
	}
	return err
}

// sink reads how many bytes will follow, takes them, and answers with one.
func sink(conn net.Conn) error {
	n, err := readLength(conn)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(conn, n)}, make([]byte, 256<<10)); err != nil {
		return err
	}
	_, err = conn.Write([]byte{1})
	return err
}

func readLength(conn net.Conn) (int64, error) {
	var head [8]byte
	_, err := io.ReadFull(conn, head[:])
	return int64(binary.BigEndian.Uint64(head[:])), err
}
