// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// prefix begins the names of all namespaces and folders that labs make. The id of the
// process that made them follows.
const prefix = "shootlab-"

// Lab is three namespaces with upstream servers and agents that have found each
// other. The product's binaries are not started yet.
type Lab struct {
	// Dir holds everything that the lab writes. Every user may read it.
	Dir string
	// Pod is the client's pod, Seed the control plane, Shoot the shoot.
	Pod, Seed, Shoot *Namespace
	// Certs are the mTLS files of server, agent and client.
	Certs *Certificates
	// Servers and Agents are upstream's, as many as the options request.
	Servers []*Server
	Agents  []*Agent
	// Exits are the shoot's exits, as many as the options request. ExitCerts are their
	// files, nil without exits.
	Exits     []*Exit
	ExitCerts *ExitCertificates
	// Server and Agent are the processes of the first of each.
	Server, Agent *Process
	// Balancer is haproxy, if there are several servers.
	Balancer *Process

	opts          Options
	sidecarStarts int
	pods          int // made by AddPod
	agentRelay    *Relay
	agentHosts    *Hosts

	mu         sync.Mutex // guards what follows
	namespaces []*Namespace
	processes  []*Process
	closers    []func() error
}

// New builds a lab, or removes what it had built and returns what failed. It needs root.
func New(ctx context.Context, opts Options) (*Lab, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	sweep()
	l := &Lab{opts: opts}
	if err := l.build(ctx); err != nil {
		err = fmt.Errorf("build the lab: %w\n%s", err, l.Logs())
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) (err error) {
	if err := l.makeFolders(); err != nil {
		return err
	}
	for suffix, field := range map[string]**Namespace{"pod": &l.Pod, "seed": &l.Seed, "shoot": &l.Shoot} {
		if *field, err = l.host(suffix); err != nil {
			return err
		}
	}
	if err := l.wire(ctx); err != nil {
		return err
	}
	if l.Certs, err = newCertificates(filepath.Join(l.Dir, "certs"), l.opts.ShootName); err != nil {
		return err
	}
	return l.buildTunnel(ctx)
}

// makeFolders chooses the lab's name and makes its folders.
func (l *Lab) makeFolders() error {
	name := fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), strings.ToLower(rand.Text()[:5]))
	// os.MkdirTemp's default is not used: uid 14001 may not be able to read $TMPDIR.
	l.Dir = filepath.Join("/tmp", name)
	for _, dir := range []string{l.Dir, filepath.Join(l.Dir, "logs"), filepath.Join(l.Dir, "bin"), filepath.Join(l.Dir, "certs")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil { // independent of the umask
			return err
		}
	}
	return nil
}

// buildTunnel starts servers, balancer, agents and exits, and waits until all have found
// each other.
func (l *Lab) buildTunnel(ctx context.Context) error {
	for i := range l.opts.Servers {
		s := &Server{Index: i, Flags: l.opts.ServerFlags, lab: l}
		l.Servers = append(l.Servers, s)
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	if l.opts.Servers > 1 {
		if err := l.startBalancer(ctx); err != nil {
			return err
		}
	}
	if l.opts.AgentRelay {
		if err := l.startAgentRelay(); err != nil {
			return err
		}
	}
	if l.opts.Shared != nil {
		if err := l.opts.Shared.join(ctx, l); err != nil {
			return err
		}
	}
	if err := l.nameForAgents(); err != nil {
		return err
	}
	for range l.opts.Agents {
		if _, err := l.StartAgentIn(l.Shoot, l.opts.AgentFlags...); err != nil {
			return err
		}
	}
	if l.opts.Exits > 0 {
		if err := l.startExits(ctx); err != nil {
			return err
		}
	}
	return l.WaitTunnel(ctx)
}

// Name returns the part that the names of the lab's namespaces share.
func (l *Lab) Name() string { return filepath.Base(l.Dir) }

// ProgramPath returns the path from which the lab runs a product binary. A test may put
// another program there before the first start. The lab then runs that one.
func (l *Lab) ProgramPath(name string) string { return filepath.Join(l.Dir, "bin", name) }

// worldBin copies a product binary to a folder where every uid can run it, and returns
// its path. A clone may lie below a folder of mode 0700. If the copy fails, the path does
// not exist, and starting it reports that.
func (l *Lab) worldBin(name string) string {
	to := l.ProgramPath(name)
	if _, err := os.Stat(to); err == nil {
		return to
	}
	from := filepath.Join(l.opts.Bin, name)
	if err := copyProgram(from, to); err != nil {
		return from
	}
	return to
}

func copyProgram(from, to string) error {
	// A child that is forked meanwhile has the copy open for writing until it becomes
	// another program. A process that starts the copy at that moment gets "text file
	// busy".
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Chmod(0o755), target.Close())
}

// host makes a further namespace, which ends with the lab.
func (l *Lab) host(suffix string) (*Namespace, error) {
	n, err := newNamespace(l, l.Name()+"-"+suffix)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.namespaces = append(l.namespaces, n)
	return n, nil
}

func (l *Lab) adopt(p *Process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes = append(l.processes, p)
}

// OnClose registers work for Close. Close does the last registered first, before it ends
// the processes.
func (l *Lab) OnClose(fn func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, fn)
}

// Logs returns the last lines of every process's log, for a failure's report.
func (l *Lab) Logs() string {
	l.mu.Lock()
	processes := slices.Clone(l.processes)
	l.mu.Unlock()
	var b strings.Builder
	for _, p := range processes {
		fmt.Fprintf(&b, "--- %s (pid %d)\n%s\n", p.Name, p.PID(), tail(p.Log(), 40))
	}
	return b.String()
}

// Crashes returns the logs in which a process reports a panic. A program built with the
// race detector may also report a data race.
func (l *Lab) Crashes() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var crashes []string
	for _, p := range l.processes {
		log := "\n" + p.Log()
		for _, mark := range []string{"\npanic: ", "\nfatal error: ", "\nWARNING: DATA RACE"} {
			if i := strings.Index(log, mark); i >= 0 {
				crashes = append(crashes, fmt.Sprintf("%s:%.4000s", p.Name, log[i:]))
				break
			}
		}
	}
	return crashes
}

// Close ends every process and removes the namespaces and the folder. It returns what it
// could not remove, and what had survived. It may be called once.
func (l *Lab) Close() error {
	var errs []error
	for _, fn := range slices.Backward(l.closers) {
		errs = append(errs, fn())
	}
	for _, p := range slices.Backward(l.processes) {
		p.Kill() // a test, not Close, checks what a process does when it ends
	}
	for _, n := range l.namespaces {
		errs = append(errs, endInhabitants(n.Name, n.inode), n.close(false))
	}
	if l.Dir != "" {
		errs = append(errs, os.RemoveAll(l.Dir))
	}
	return errors.Join(errs...)
}
