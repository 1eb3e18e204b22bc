// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// The benchmarks' proxy-server is a process of its own, so that what the kernel
// counts for this one (getrusage(2)) is the client's part alone: cpu-ms/GiB.

// benchServer is the environment variable that makes this binary that process.
// Its value is the folder of its certificate.
const benchServer = "TUNNEL_BENCH_SERVER"

// What a benchmark's server does with a connection depends on its port. The
// first packet to a source or a sink is a number of bytes.
var (
	benchEcho   = netip.MustParseAddrPort("100.64.3.7:1")
	benchSource = netip.MustParseAddrPort("100.64.3.7:2") // sends so many
	benchSink   = netip.MustParseAddrPort("100.64.3.7:3") // sends one when it has got so many
)

// benchPacket is how many bytes an agent reads from a target at once, and so the
// size of the packets that come from it.
const benchPacket = 4 << 10

// benchChunk is how many bytes are written at once where there is no gRPC. What is
// asked for is a multiple of it.
const benchChunk = 32 << 10

// TestBenchServer is the benchmarks' server. It ends with its standard input.
func TestBenchServer(t *testing.T) {
	dir := os.Getenv(benchServer)
	if dir == "" {
		t.Skip("only for benchmarks, which start it")
	}
	p := readPKI(t, dir)
	s := p.serveGRPC(t, options.ModeGRPC, serveBench)
	plain := tls.NewListener(listen(t), p.serverConfig())
	go serveTLS(plain)
	fmt.Printf("\n%s %s\n", s.Address, plain.Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// serveTLS sends on each connection as many bytes as it is asked for.
func serveTLS(l net.Listener) {
	for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
		go func() {
			defer conn.Close()
			var question [9]byte
			chunk := make([]byte, benchChunk)
			for {
				if _, err := io.ReadFull(conn, question[:]); err != nil {
					return
				}
				left := int64(binary.BigEndian.Uint64(question[1:]))
				if question[0] == 'u' {
					_, _ = io.CopyN(io.Discard, conn, left)
					_, _ = conn.Write([]byte("k"))
					continue
				}
				for ; left > 0; left -= benchChunk {
					if _, err := conn.Write(chunk); err != nil {
						return
					}
				}
			}
		}()
	}
}

// serveBench is the script of each of its streams.
func serveBench(s client.ProxyService_ProxyServer) error {
	req, err := s.Recv()
	if err != nil {
		return err
	}
	if err := s.Send(dialRsp(req.GetDialRequest().GetRandom(), connID, "")); err != nil {
		return err
	}
	dst := req.GetDialRequest().GetAddress()
	if dst == benchEcho.String() {
		return echo(s)
	}
	packet := dataPkt(connID, strings.Repeat("x", benchPacket))
	for left := 0; ; {
		pkt, err := s.Recv()
		switch {
		case err != nil:
			return nil
		case pkt.Type == client.PacketType_CLOSE_REQ:
			_ = s.Send(closeRsp(connID, ""))
			continue
		case left == 0:
			left = int(binary.BigEndian.Uint64(pkt.GetData().GetData()))
		default:
			left -= len(pkt.GetData().GetData())
			if left == 0 {
				_ = s.Send(dataPkt(connID, "k"))
			}
		}
		for dst == benchSource.String() && left > 0 {
			if err := s.Send(packet); err != nil {
				return nil
			}
			left -= benchPacket
		}
	}
}

// serveBenchmarks starts the server, and returns it and where it speaks bare TLS.
func (p *pki) serveBenchmarks(b *testing.B) (options.Server, string) {
	b.Helper()
	p.saveServer(b)
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchServer$")
	cmd.Env = append(os.Environ(), benchServer+"="+p.dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(b, err)
	stdout, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if grpc, bare, found := strings.Cut(lines.Text(), " "); found {
			return options.Server{Name: "bench", Network: "tcp", Address: grpc, Mode: options.ModeGRPC}, bare
		}
	}
	b.Fatal("the server did not start")
	return options.Server{}, ""
}

// benchDialer is a dialer whose shared connection to a benchmarks' server stands.
func benchDialer(b *testing.B) *fixture {
	b.Helper()
	p := newPKI(b)
	s, _ := p.serveBenchmarks(b)
	d := newDialer(b, p.client(), hang, s)
	d.connect(b)
	return d
}

func (f *fixture) benchDial(b *testing.B, dst netip.AddrPort) Conn {
	conn, err := f.DialContext(context.Background(), dst)
	if err != nil {
		b.Error(err)
		b.FailNow()
	}
	return conn
}
