// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// The far side of the benchmarks is a process of its own, so that the CPU time of this
// process is the client's alone (getrusage(2)). It is both ends at once. One is the
// app, on a plain TCP connection. The other is proxy-server and target: in http-connect
// mode as upstream serves it (net/http, hijacked), on gRPC, and on bare TLS.

// farSideEnv makes the test binary the far side, with the TLS files of a folder.
const farSideEnv = "TUNNEL_TEST_FAR_SIDE"

const (
	// agentPacket is how many bytes of a target upstream's agent puts into one
	// packet, which the server writes as one TLS record.
	agentPacket = 4 << 10
	// order is an app's request to its target: 'd' or 'u', and a number of bytes.
	orderSize = 9
)

// farSide is that process, for its parent.
type farSide struct {
	server  tunnel.Server // in http-connect mode
	grpc    tunnel.Server // in gRPC mode
	tls     string        // address for TLS without a protocol in it
	app     string        // where the app listens
	pki     *pki
	config  *tls.Config // for the least that a sidecar can do: it has no session cache
	control io.Writer
	answers *bufio.Scanner
}

// startFarSide starts the process, until the end of the benchmark.
func startFarSide(b *testing.B) *farSide {
	b.Helper()
	p := newPKI(b)
	p.saveServer(b)
	exe, err := os.Executable()
	must(b, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), farSideEnv+"="+p.dir)
	cmd.Stderr = os.Stderr
	control, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = control.Close()
		_ = cmd.Wait()
	})
	pair, err := tls.LoadX509KeyPair(p.file("client.crt"), p.file("client.key"))
	must(b, err)
	f := &farSide{
		pki: p, control: control, answers: bufio.NewScanner(out),
		config: &tls.Config{RootCAs: p.pool, Certificates: []tls.Certificate{pair}, NextProtos: []string{serverconn.ALPNHTTP1}},
	}
	addresses := strings.Fields(f.answer(b))
	if len(addresses) != 4 {
		b.Fatalf("the far side says that it listens on %q", addresses)
	}
	f.server = tunnel.Server{Name: "far side", Network: "tcp", Address: addresses[0], Mode: tunnel.ModeHTTPConnect}
	f.grpc = tunnel.Server{Name: "far side", Network: "tcp", Address: addresses[1], Mode: tunnel.ModeGRPC}
	f.tls, f.app = addresses[2], addresses[3]
	return f
}

func (f *farSide) answer(b *testing.B) string {
	b.Helper()
	if !f.answers.Scan() {
		b.Fatal("the far side has ended", f.answers.Err())
	}
	return f.answers.Text()
}

// move makes the app move n bytes on its last connection: 'd' down or 'u' up.
func (f *farSide) move(b *testing.B, direction byte, n int) {
	b.Helper()
	_, err := fmt.Fprintf(f.control, "%c %d\n", direction, n)
	must(b, err)
	if got := f.answer(b); got != "ok" {
		b.Fatal(got)
	}
}

// bare opens a connection with the least that a sidecar can do: a TLS handshake and
// CONNECT.
func (f *farSide) bare(b *testing.B) *tls.Conn {
	b.Helper()
	conn, err := tls.Dial("tcp", f.server.Address, f.config)
	must(b, err)
	_, err = fmt.Fprintf(conn, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target)
	must(b, err)
	head := make([]byte, len(establishedLine))
	_, err = io.ReadFull(conn, head)
	must(b, err)
	return conn
}

// processTime returns the CPU time of this process.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serveFarSide is the other process. It ends with its standard input.
func serveFarSide(dir string) int {
	if err := runFarSide(dir); err != nil {
		fmt.Fprintln(os.Stderr, "far side:", err)
		return 1
	}
	return 0
}

func runFarSide(dir string) error {
	p, err := readPKI(dir)
	if err != nil {
		return err
	}
	var listeners [4]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		fmt.Print(listeners[i].Addr(), " ")
	}
	fmt.Println()
	connect, grpc, bare, apps := listeners[0], listeners[1], listeners[2], listeners[3]
	go func() {
		_ = http.Serve(tls.NewListener(connect, p.serverConfig(serverconn.ALPNHTTP1)), http.HandlerFunc(serveTarget))
	}()
	go p.serveBench(grpc)
	go serveTLS(tls.NewListener(bare, p.serverConfig()))
	return runApp(apps, bufio.NewReader(os.Stdin))
}

// serveTarget serves as the proxy-server with a target behind it.
func serveTarget(w http.ResponseWriter, _ *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, establishedLine); err != nil {
		return
	}
	var order [orderSize]byte
	packet := make([]byte, agentPacket)
	for {
		if _, err := io.ReadFull(buffered, order[:]); err != nil {
			return
		}
		n := int64(binary.BigEndian.Uint64(order[1:]))
		switch order[0] {
		case 'd':
			for ; n > 0 && err == nil; n -= agentPacket {
				_, err = conn.Write(packet)
			}
		case 'u':
			if _, err = io.CopyN(io.Discard, struct{ io.Reader }{buffered}, n); err == nil {
				_, err = conn.Write([]byte{'!'})
			}
		}
		if err != nil {
			return
		}
	}
}

// runApp carries out the parent's orders on the connection that it accepted last.
func runApp(apps net.Listener, orders *bufio.Reader) error {
	var conn net.Conn
	buf := make([]byte, 64<<10)
	for {
		var direction byte
		var n int64
		if _, err := fmt.Fscanf(orders, "%c %d\n", &direction, &n); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if direction == 'a' {
			var err error
			if conn, err = apps.Accept(); err != nil {
				return err
			}
			fmt.Println("ok")
			continue
		}
		order := binary.BigEndian.AppendUint64([]byte{direction}, uint64(n))
		if _, err := conn.Write(order); err != nil {
			return err
		}
		up, down := int64(0), n
		if direction == 'u' {
			up, down = n, 1
		}
		for ; up > 0; up -= int64(len(buf)) {
			if _, err := conn.Write(buf[:min(up, int64(len(buf)))]); err != nil {
				return err
			}
		}
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{io.LimitReader(conn, down)}, buf); err != nil {
			return err
		}
		fmt.Println("ok")
	}
}
