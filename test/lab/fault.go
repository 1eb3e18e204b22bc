// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Link is one of the lab's two cables. Its value is the name of its end in the seed. The
// other end is eth0.
type Link string

// The cables.
const (
	PodLink   Link = "to-pod"
	ShootLink Link = "to-shoot"
)

// Undo ends a fault. It may be called more than once. It need not be called before the
// lab is closed.
type Undo func() error

// end is one end of a cable.
type end struct {
	host *Namespace
	name string
}

func (l *Lab) ends(link Link) []end {
	far := l.Pod
	if link == ShootLink {
		far = l.Shoot
	}
	return []end{{l.Seed, string(link)}, {far, "eth0"}}
}

// Partition drops all packets on a link, silently. The link stays up at both ends, and
// neither end receives anything.
func (l *Lab) Partition(ctx context.Context, link Link) (Undo, error) {
	return l.dropArrivals(ctx, link)
}

// Loss drops packets on a link with that probability, in each direction.
func (l *Lab) Loss(ctx context.Context, link Link, probability float64) (Undo, error) {
	return l.dropArrivals(ctx, link, "-m", "statistic", "--mode", "random", "--probability", fmt.Sprintf("%.4f", probability))
}

// dropArrivals drops matching packets at both ends, where they arrive. If the sender's
// own kernel drops a packet, TCP knows of it.
func (l *Lab) dropArrivals(ctx context.Context, link Link, match ...string) (Undo, error) {
	var steps []step
	for _, e := range l.ends(link) {
		for _, f := range DualStack.Each() {
			steps = append(steps, drop(e, f, match...))
		}
	}
	return do(ctx, steps)
}

// ForgetIdle puts a stateful firewall between pod and seed, as NAT gateways and load
// balancers are. It forgets a TCP connection on which no packet has passed for that long.
// It silently drops packets of connections that it does not know. That includes the
// connections that exist now.
func (l *Lab) ForgetIdle(ctx context.Context, after time.Duration) (Undo, error) {
	const folder = "net.netfilter.nf_conntrack_tcp_"
	set := func(name, value, before string) step {
		return step{
			host: l.Seed,
			do:   Command{Path: "sysctl", Args: []string{"-qw", folder + name + "=" + value}},
			undo: Command{Path: "sysctl", Args: []string{"-qw", folder + name + "=" + before}},
		}
	}
	steps := []step{
		set("loose", "0", "1"), // a connection is not picked up in its middle
		set("timeout_established", strconv.Itoa(int(after.Seconds())), "432000"),
	}
	for _, f := range DualStack.Each() {
		for chain, direction := range map[string]string{"INPUT": "-i", "OUTPUT": "-o"} {
			rule := []string{chain, direction, string(PodLink), "-p", "tcp", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"}
			command := func(action string) Command {
				return Command{Path: pick(f, "iptables", "ip6tables"), Args: slices.Concat([]string{"-w", action}, rule)}
			}
			steps = append(steps, step{host: l.Seed, do: command("-A"), undo: command("-D")})
		}
	}
	return do(ctx, steps)
}

// BlackHole makes the packets between the pod and this server's address vanish, as if the
// host had lost its power. Neither side gets an error. The server's agents keep their
// connections.
func (s *Server) BlackHole(ctx context.Context) (Undo, error) {
	var steps []step
	ends := s.lab.ends(PodLink)
	for _, f := range DualStack.Each() {
		steps = append(steps,
			drop(ends[0], f, "-d", s.Address(f).String()),
			drop(ends[1], f, "-s", s.Address(f).String()))
	}
	return do(ctx, steps)
}

// Bandwidth limits a link to this many bytes a second in each direction.
func (l *Lab) Bandwidth(ctx context.Context, link Link, bytesPerSecond int) (Undo, error) {
	var steps []step
	for _, e := range l.ends(link) {
		steps = append(steps, step{
			host: e.host,
			do: Command{Path: "tc", Args: []string{
				"qdisc", "add", "dev", e.name, "root", "tbf", "rate", strconv.Itoa(8*bytesPerSecond) + "bit", "burst", "64kb", "latency", "100ms",
			}},
			undo: Command{Path: "tc", Args: []string{"qdisc", "del", "dev", e.name, "root"}},
		})
	}
	return do(ctx, steps)
}

// step is a change on one host, and the change that undoes it.
type step struct {
	host     *Namespace
	do, undo Command
}

func drop(e end, f Families, match ...string) step {
	rule := slices.Concat([]string{"INPUT", "-i", e.name}, match, []string{"-j", "DROP"})
	command := func(action string) Command {
		return Command{Path: pick(f, "iptables", "ip6tables"), Args: slices.Concat([]string{"-w", action}, rule)}
	}
	return step{host: e.host, do: command("-I"), undo: command("-D")}
}

// do runs all steps, or undoes those that were run.
func do(ctx context.Context, steps []step) (Undo, error) {
	var done []step
	undo := sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var errs []error
		for _, s := range slices.Backward(done) {
			_, err := s.host.Run(ctx, s.undo)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	for _, s := range steps {
		if _, err := s.host.Run(ctx, s.do); err != nil {
			return nil, errors.Join(err, undo())
		}
		done = append(done, s)
	}
	return undo, nil
}
