// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// sharedAddress is the address of a [SharedBalancer]. Pods, seeds and shoots reach it
// through their seed.
var sharedAddress = netip.MustParseAddr("10.95.0.1")

// SharedSettings are the values that the configuration of a [SharedBalancer] needs. All
// addresses are host:port.
type SharedSettings struct {
	Clients, Agents string // where the balancer listens
	Shoots          []SharedShoot
}

// SharedShoot is a shoot in [SharedSettings].
type SharedShoot struct {
	// ID is in the names of the shoot's backends.
	ID string
	// Name is the DNS name that the shoot's sidecars and agents send.
	Name string
	// Clients and Agents are the two ports of the shoot's server.
	Clients, Agents string
}

// Configuration fills in the configuration file.
func (s SharedSettings) Configuration() (string, error) {
	text, err := template.New("haproxy-sni.cfg").ParseFS(balancerFiles, "balancers/haproxy-sni.cfg")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = text.Execute(&b, s)
	return b.String(), err
}

// SharedBalancer is Debian's HAProxy on a host of its own, in front of the servers of
// several labs. It passes TCP on, and chooses the server by the name in the TLS
// handshake. Agents come to one of its ports and sidecars to the other.
//
// A lab with Options.Shared joins it when the lab is built. That reloads HAProxy.
type SharedBalancer struct {
	// Process is HAProxy's master process. Its workers are in the same process group.
	*Process

	home     *Lab // which has one host only, its Seed
	settings SharedSettings
	starts   int
	reloads  int
}

// NewSharedBalancer starts a balancer that knows no shoot. It must be closed after the
// labs that joined it.
func NewSharedBalancer(ctx context.Context) (*SharedBalancer, error) {
	b := &SharedBalancer{home: &Lab{}, settings: SharedSettings{
		Clients: net.JoinHostPort(sharedAddress.String(), strconv.Itoa(FrontendPort)),
		Agents:  net.JoinHostPort(sharedAddress.String(), strconv.Itoa(agentPort)),
	}}
	err := b.build(ctx)
	if err != nil {
		err = fmt.Errorf("build the shared balancer: %w\n%s", err, b.home.Logs())
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *SharedBalancer) build(ctx context.Context) (err error) {
	if err := b.home.makeFolders(); err != nil {
		return err
	}
	if b.home.Seed, err = b.home.host("balancer"); err != nil {
		return err
	}
	err = b.home.Seed.Do(func() error {
		return addresses(map[string][]string{"lo": {netip.PrefixFrom(sharedAddress, 32).String()}})
	})
	if err != nil {
		return err
	}
	return b.Start(ctx)
}

// Frontend returns the balancer's address as --proxy-server takes it.
func (b *SharedBalancer) Frontend() string { return b.settings.Clients }

// Address returns the address of both ports.
func (b *SharedBalancer) Address() netip.Addr { return sharedAddress }

// Logs returns the end of HAProxy's log.
func (b *SharedBalancer) Logs() string { return b.home.Logs() }

// Close ends HAProxy and removes its host.
func (b *SharedBalancer) Close() error { return b.home.Close() }

// Start starts HAProxy, also again after it has ended, and waits until it listens.
func (b *SharedBalancer) Start(ctx context.Context) error {
	if err := b.configure(ctx); err != nil {
		return err
	}
	b.starts++
	b.reloads = 0
	process, err := b.home.Seed.Start(fmt.Sprint("haproxy-", b.starts), Command{
		Path: "haproxy", Args: []string{"-W", "-db", "-S", b.socket(), "-f", b.file()},
	})
	if err != nil {
		return err
	}
	b.Process = process
	return b.waitServes(ctx)
}

// join connects a lab's hosts with the balancer's and adds the lab's server to the
// configuration. Then it reloads HAProxy.
func (b *SharedBalancer) join(ctx context.Context, l *Lab) error {
	id, _, _ := strings.Cut(l.opts.ShootName, ".")
	server, err := b.connect(ctx, l, len(b.settings.Shoots)+1)
	if err != nil {
		return fmt.Errorf("connect %s with the shared balancer: %w", l.opts.ShootName, err)
	}
	b.settings.Shoots = append(b.settings.Shoots, SharedShoot{
		ID: id, Name: l.opts.ShootName,
		Clients: net.JoinHostPort(server.String(), strconv.Itoa(FrontendPort)),
		Agents:  net.JoinHostPort(server.String(), strconv.Itoa(agentPort)),
	})
	return b.Reload(ctx)
}

// Reload makes HAProxy use the present configuration, as the reload of Debian's service
// does: it checks the file and then sends SIGUSR2. A new worker takes the listening
// sockets over. The old worker keeps its connections until they end.
func (b *SharedBalancer) Reload(ctx context.Context) error {
	if err := b.configure(ctx); err != nil {
		return err
	}
	b.reloads++
	if err := b.Signal(syscall.SIGUSR2); err != nil {
		return err
	}
	return b.waitServes(ctx)
}

func (b *SharedBalancer) configure(ctx context.Context) error {
	text, err := b.settings.Configuration()
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.file(), []byte(text), 0o644); err != nil {
		return err
	}
	_, err = b.home.Seed.Run(ctx, Command{Path: "haproxy", Args: []string{"-c", "-q", "-f", b.file()}})
	return err
}

func (b *SharedBalancer) file() string   { return filepath.Join(b.home.Dir, "haproxy.cfg") }
func (b *SharedBalancer) socket() string { return filepath.Join(b.home.Dir, "master.sock") }

// waitServes waits until the master has started a worker as often as it was told to. A
// worker listens before the master's own socket answers again.
func (b *SharedBalancer) waitServes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return Poll(ctx, "a worker of the shared balancer", func(ctx context.Context) error {
		if err := b.alive(); err != nil {
			cancel()
			return err
		}
		all, err := b.processes(ctx)
		if err != nil {
			return err
		}
		if all.reloads != b.reloads || all.current != 1 {
			return fmt.Errorf("HAProxy's processes: %+v, want 1 current worker after %d reloads", all, b.reloads)
		}
		conn, err := b.home.Seed.DialContext(ctx, "tcp", b.Frontend())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// OldWorkers returns how many workers from before a reload still have connections.
func (b *SharedBalancer) OldWorkers(ctx context.Context) (int, error) {
	all, err := b.processes(ctx)
	return all.old, err
}

// haproxyProcesses is what HAProxy's master says about itself and its workers.
type haproxyProcesses struct{ reloads, current, old int }

// processes asks the master's socket. Section 9.4 of HAProxy's management guide has the
// format of the answer.
func (b *SharedBalancer) processes(ctx context.Context) (haproxyProcesses, error) {
	var all haproxyProcesses
	conn, err := new(net.Dialer).DialContext(ctx, "unix", b.socket())
	if err != nil {
		return all, err
	}
	defer conn.Close()
	// A master that is just reloading may never answer.
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return all, err
	}
	if _, err := io.WriteString(conn, "show proc\n"); err != nil {
		return all, err
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil { // the last command
		return all, err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return all, err
	}
	old := false
	for line := range strings.Lines(string(answer)) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "# old workers"):
			old = true
		case len(fields) < 3 || line[0] == '#':
		case fields[1] == "master":
			if all.reloads, err = strconv.Atoi(fields[2]); err != nil {
				return all, fmt.Errorf("HAProxy's master says %q: %w", answer, err)
			}
		case fields[1] == "worker" && old:
			all.old++
		case fields[1] == "worker":
			all.current++
		}
	}
	return all, nil
}
