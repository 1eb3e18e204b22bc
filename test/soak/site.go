// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// site is a lab with its sidecar, targets and traffic.
type site struct {
	name    string // the mode
	logs    string // the folder for its logs
	lab     *lab.Lab
	sidecar *lab.Process
	targets *target.Targets
	far     *far
	files   *lab.Volume // the client's certificate and key
	pairs   int         // issued so far

	journal journal
	tally   *tally
	traffic *traffic

	clock    *wallClock          // the sidecar's, if it can be stepped
	balancer *lab.ClientBalancer // in front of a server that allows few streams, if there is one
	annex    *site               // of the targets that pause, if there are any
	exits    *exits              // nil without exits

	stall atomic.Int64 // the longest time in ns by which a sleep of this program was too long
	say   func(format string, args ...any)
}

// Flags of the sidecar that differ from the defaults. The dial budget is larger. A
// machine may stand still for some seconds while two peers in turn do not answer. A
// half-closed app is given up sooner, so that the end need not wait for it.
const (
	dialBudget = time.Minute
	halfClosed = 25 * time.Second
	// idleTimeout is longer than any wait of a connection, and shorter than a step of the
	// clock.
	idleTimeout = 10 * time.Minute
	// closeDelay is how long after an app's last byte its tunnel is closed.
	closeDelay = 2 * time.Second
)

// setUp bounds the time to build a site.
const setUp = 3 * time.Minute

// siteOptions say what a site has.
type siteOptions struct {
	mode       lab.Mode
	peers      int  // servers, and agents
	clock      bool // the sidecar's wall clock can be stepped
	fewStreams bool // one of the servers can allow few streams
}

// newSite builds a site, or removes what it had built.
func newSite(ctx context.Context, cfg Config, with siteOptions, say func(string, ...any)) (_ *site, err error) {
	ctx, cancel := context.WithTimeout(ctx, setUp)
	defer cancel()
	opts := lab.Options{Mode: with.mode, Servers: with.peers, Agents: with.peers, AgentRelay: true, Bin: cfg.Bin, TestBin: cfg.TestBin}
	if cfg.Exit {
		opts.Exits = with.peers
	}
	if err := opts.CheckProduct(); err != nil {
		return nil, err
	}
	s := &site{name: string(with.mode), logs: string(with.mode), say: say}
	if s.lab, err = lab.New(ctx, opts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w\n%s", s.name, err, s.lab.Logs()), s.lab.Close())
		}
	}()
	if s.targets, err = target.Listen(s.lab.Shoot.Listen); err != nil {
		return nil, err
	}
	s.lab.OnClose(s.targets.Close)
	if s.far, err = listenFar(s.lab.Shoot.Listen); err != nil {
		return nil, err
	}
	s.lab.OnClose(s.far.close)
	s.tally = newTally(&s.journal)
	s.traffic = &traffic{pod: s.lab.Pod, report: s.tally.add, seed: cfg.Seed, exits: cfg.Exit}
	s.journal.exits = cfg.Exit
	if with.clock {
		if err := s.newClock(ctx); err != nil {
			return nil, err
		}
	}
	if with.fewStreams {
		if err := s.newFewStreams(ctx); err != nil {
			return nil, err
		}
	}
	return s, s.startSidecar(ctx)
}

func (s *site) startSidecar(ctx context.Context) (err error) {
	for _, f := range lab.DualStack.Each() {
		if err := s.lab.Unreachable(ctx, lab.ShootPod(f, 1), scriptPort); err != nil {
			return fmt.Errorf("the control experiment failed, so this lab proves nothing: %w", err)
		}
	}
	if _, err := s.lab.InitRedirect(ctx, "apply"); err != nil {
		return err
	}
	if s.files, err = lab.NewVolume(filepath.Join(s.lab.Dir, "client-files")); err != nil {
		return err
	}
	if err := s.swapFiles(); err != nil {
		return err
	}
	flags := []string{
		"--mode=" + s.name, "--proxy-server=" + strings.Join(s.frontends(), ","), "--idle-timeout=" + idleTimeout.String(),
		"--dial-timeout=" + dialBudget.String(), "--half-close-timeout=" + halfClosed.String(),
		"--client-cert=" + s.files.Path("tls.crt"), "--client-key=" + s.files.Path("tls.key"),
	}
	if s.journal.exits {
		if err := s.newExits(ctx); err != nil {
			return err
		}
		flags = append(flags, s.exits.flags()...)
	}
	command := s.lab.ProxyClientCommand(flags...)
	// README.md gives this limit: below the container's, which is twice --total-buffer.
	command.Env = append(command.Env, "GOMEMLIMIT=460MiB")
	if s.clock != nil {
		command.Env = append(command.Env, s.clock.Env())
	}
	s.sidecar, err = s.lab.StartSidecar(ctx, command)
	return err
}

// swapFiles gives the sidecar a new client certificate, as the kubelet does.
func (s *site) swapFiles() error {
	s.pairs++
	cert, key, err := s.lab.Certs.Frontend.Issue(fmt.Sprintf("soak-%d", s.pairs), nil, nil)
	if err != nil {
		return err
	}
	return s.writeFiles(cert, key)
}

// spoilFiles gives the sidecar a certificate with the key of another one.
func (s *site) spoilFiles() error {
	s.pairs++
	cert, _, err := s.lab.Certs.Frontend.Issue(fmt.Sprintf("soak-%d", s.pairs), nil, nil)
	if err != nil {
		return err
	}
	return s.writeFiles(cert, s.lab.Certs.ClientKey)
}

func (s *site) writeFiles(cert, key string) error {
	files := map[string][]byte{}
	for name, path := range map[string]string{"tls.crt": cert, "tls.key": key} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files[name] = text
	}
	return s.files.Write(files)
}

// close removes the site, and reports what crashed or could not be removed.
func (s *site) close() (crashes []string, err error) {
	return s.lab.Crashes(), s.lab.Close()
}
