// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

const (
	memoryLimit = "GOMEMLIMIT=460MiB" // as in README.md's pod
	// holdMemoryLimit is for sidecars that hold many connections. With memoryLimit, one in
	// http-connect mode allows 6,144.
	holdMemoryLimit = "GOMEMLIMIT=1GiB"
	socks5Listen    = "127.0.0.1:1080"
	setUpTimeout    = 2 * time.Minute
	// scrapeBytes is the size of one answer to a scrape.
	scrapeBytes = 100 << 10
	scraped     = 500
)

// site is one lab. Its upstream server has one mode.
type site struct {
	mode         lab.Mode
	lab          *lab.Lab
	product      *lab.Process
	socks5       *lab.Process // set if the mode is http-connect
	socks5Starts int
	pod          *remote // driver in the client's pod
	shoot        *remote // driver in the shoot
	exitHost     *lab.Namespace
	exitProduct  *lab.Process // the product with an exit, in a pod of its own
	exitPod      *remote      // driver in that pod
}

// newSite builds a site, or removes what it had built.
func newSite(ctx context.Context, cfg Config, mode lab.Mode) (_ *site, err error) {
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	opts := lab.Options{Mode: mode, Bin: cfg.Bin, TestBin: cfg.TestBin, Exits: 1}
	if err := errors.Join(opts.CheckProduct(), opts.CheckExit()); err != nil {
		return nil, err
	}
	s := &site{mode: mode}
	if s.lab, err = lab.New(ctx, opts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w\n%s", mode, err, s.lab.Logs()), s.lab.Close())
		}
	}()
	if s.exitHost, err = s.lab.AddPod(); err != nil {
		return nil, err
	}
	if err := s.reusePorts(); err != nil {
		return nil, err
	}
	if err := s.startTarget(); err != nil {
		return nil, err
	}
	if err := s.lab.Unreachable(ctx, lab.ShootPod(lab.IPv4, 1), echoPort); err != nil {
		return nil, fmt.Errorf("the control experiment failed, so this lab proves nothing: %w", err)
	}
	for _, pod := range []*lab.Namespace{s.lab.Pod, s.exitHost} {
		if _, err := pod.Run(ctx, s.lab.InitRedirectCommand("apply")); err != nil {
			return nil, err
		}
	}
	if err := s.startSidecars(ctx, memoryLimit); err != nil {
		return nil, err
	}
	if s.pod, err = startDriver(s.lab, s.lab.Pod, "driver-pod"); err != nil {
		return nil, err
	}
	if s.exitPod, err = startDriver(s.lab, s.exitHost, "driver-exit"); err != nil {
		return nil, err
	}
	s.shoot, err = startDriver(s.lab, s.lab.Shoot, "driver-shoot")
	return s, err
}

// reusePorts lets a new connection use a port that is still in its minute of TIME_WAIT.
// Otherwise three contenders that hold 10,000 connections within a minute would leave the
// agent without a port. There are 28,000 to one target.
func (s *site) reusePorts() error {
	for _, n := range []*lab.Namespace{s.lab.Pod, s.exitHost, s.lab.Seed, s.lab.Shoot} {
		if err := n.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/tcp_tw_reuse", []byte("1"), 0) }); err != nil {
			return fmt.Errorf("let ports be used again: %w", err)
		}
	}
	return nil
}

func (s *site) startTarget() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	target, err := s.lab.Shoot.Start("target", lab.Command{Path: exe, Args: []string{roleServe, fmt.Sprint(scraped), fmt.Sprint(scrapeBytes)}, Stdout: w})
	if err != nil {
		return err
	}
	go func() {
		<-target.Exited()
		_ = w.Close()
	}()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		return fmt.Errorf("the target has not come up: %w", err)
	}
	return nil
}

// startSidecars starts the sidecars with a limit of their memory, as the environment has it.
func (s *site) startSidecars(ctx context.Context, limit string) (err error) {
	command := s.lab.ProxyClientCommand("--mode=" + string(s.mode))
	command.Env = append(command.Env, limit)
	if s.product, err = s.lab.StartSidecar(ctx, command); err != nil {
		return err
	}
	if s.mode == lab.HTTPConnect {
		if err := s.startSOCKS5(limit); err != nil {
			return err
		}
	}
	command = s.lab.ProxyClientCommand(s.lab.ExitFlags("--mode=" + string(s.mode))...)
	command.Env = append(command.Env, limit)
	if s.exitProduct, err = s.lab.StartSidecarIn(s.exitHost, command); err != nil {
		return err
	}
	return s.lab.WaitSidecar(ctx, s.exitHost, s.exitProduct, "/readyz")
}

// restart replaces the sidecars and the exit by new ones, which have carried nothing yet and
// may hold many connections.
func (s *site) restart(ctx context.Context) error {
	s.product.Kill()
	s.exitProduct.Kill()
	if err := s.lab.Exits[0].Restart(ctx); err != nil {
		return err
	}
	if s.socks5 != nil {
		s.socks5.Kill()
	}
	return s.startSidecars(ctx, holdMemoryLimit)
}

func (s *site) startSOCKS5(limit string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	f := s.files()
	s.socks5Starts++
	s.socks5, err = s.lab.Pod.Start(fmt.Sprint("socks5-", s.socks5Starts), lab.Command{
		Path: exe, Args: []string{roleSOCKS5, socks5Listen, s.lab.Frontend(), f.CA, f.Cert, f.Key},
		Env: []string{limit},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), setUpTimeout)
	defer cancel()
	return lab.Poll(ctx, "the SOCKS5 sidecar to listen", func(ctx context.Context) error {
		conn, err := s.lab.Pod.DialContext(ctx, "tcp", socks5Listen)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (s *site) files() Files {
	return Files{CA: s.lab.Certs.FrontendCA, Cert: s.lab.Certs.ClientCert, Key: s.lab.Certs.ClientKey}
}

// quiet waits until no earlier connection is left. It asks the agent and the exit, because
// the sidecars' CPU is counted. The tunnels to the exit stay.
func (s *site) quiet(ctx context.Context) error {
	return lab.Poll(ctx, "all connections to end", func(ctx context.Context) error {
		m, err := s.lab.Agents[0].Metrics(ctx)
		if err != nil {
			return err
		}
		exit, err := s.lab.Exits[0].Metrics(ctx)
		if err != nil {
			return err
		}
		n, tunnels, streams := m.Sum(lab.AgentEndpoints), exit[lab.ExitConnections], exit[lab.ExitStreams]
		if n != tunnels || streams != 0 {
			return fmt.Errorf("the agent has %v connections, %v of them to the exit, which has %v streams", n, tunnels, streams)
		}
		return nil
	})
}

func (s *site) close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.pod.close(), s.exitPod.close(), s.shoot.close(), s.lab.Close())
}

// remote is a driver in another process.
type remote struct {
	process *lab.Process
	jobs    io.WriteCloser
	replies *json.Decoder
}

func startDriver(l *lab.Lab, host *lab.Namespace, name string) (*remote, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	jobs, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer jobs.Close()
	out, replies, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer replies.Close()
	r := &remote{jobs: in, replies: json.NewDecoder(out)}
	if r.process, err = host.Start(name, lab.Command{Path: exe, Args: []string{roleDrive}, Stdin: jobs, Stdout: replies}); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	l.OnClose(out.Close)
	return r, nil
}

// do sends the driver a job, and waits for the figures.
func (r *remote) do(job Job) (Figures, error) {
	if err := json.NewEncoder(r.jobs).Encode(job); err != nil {
		return nil, fmt.Errorf("the driver has ended: %w; its log: %s", err, r.process.Log())
	}
	var answer reply
	if err := r.replies.Decode(&answer); err != nil {
		return nil, fmt.Errorf("the driver has ended: %w; its log: %s", err, r.process.Log())
	}
	if answer.Error != "" {
		return answer.Figures, errors.New(strings.TrimSpace(answer.Error))
	}
	return answer.Figures, nil
}

func (r *remote) close() error {
	if r == nil {
		return nil
	}
	return r.jobs.Close()
}
