// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// exits are the exits of a site, with files that can be replaced while they run.
type exits struct {
	lab            *lab.Lab
	server, client *lab.Volume // the exits' files, and those of the sidecar
	pairs          int         // issued so far
	policies       int         // written so far
	before         []footprint // of each exit after the warm-up
	starting       sync.Mutex  // held while an exit starts, or the policy cannot be used
}

// newExits gives the exits of the lab files that can be replaced, and starts them again.
func (s *site) newExits(ctx context.Context) (err error) {
	e := &exits{lab: s.lab}
	if e.server, err = lab.NewVolume(filepath.Join(s.lab.Dir, "exit-files")); err != nil {
		return err
	}
	if e.client, err = lab.NewVolume(filepath.Join(s.lab.Dir, "exit-client-files")); err != nil {
		return err
	}
	if err := e.swap(); err != nil {
		return err
	}
	for _, exit := range s.lab.Exits {
		exit.Flags = []string{"--tls-cert=" + e.server.Path("tls.crt"), "--tls-key=" + e.server.Path("tls.key"), "--client-ca=" + e.server.Path("ca.crt")}
		if err := exit.Restart(ctx); err != nil {
			return err
		}
	}
	s.exits = e
	return nil
}

// flags returns the sidecar's flags for the exits.
func (e *exits) flags() []string {
	return e.lab.ExitFlags(
		"--exit-ca-cert="+e.client.Path("ca.crt"), "--exit-client-cert="+e.client.Path("tls.crt"), "--exit-client-key="+e.client.Path("tls.key"),
	)
}

// swap gives the exits and the sidecar new certificates.
func (e *exits) swap() error {
	e.pairs++
	authority := e.lab.ExitCerts.Authority
	cert, key, err := authority.IssueExit(fmt.Sprintf("soak-exit-%d", e.pairs))
	if err != nil {
		return err
	}
	if err := writeVolume(e.server, authority.File, cert, key); err != nil {
		return err
	}
	// The policy knows the client by the common name that its first certificate has.
	cert, key, err = authority.Issue("exit-client", nil, nil)
	if err != nil {
		return err
	}
	return writeVolume(e.client, authority.File, cert, key)
}

func writeVolume(v *lab.Volume, ca, cert, key string) error {
	files := map[string][]byte{}
	for name, path := range map[string]string{"ca.crt": ca, "tls.crt": cert, "tls.key": key} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files[name] = text
	}
	return v.Write(files)
}

// disturbExits does one of the disturbances that only exits have.
func (s *site) disturbExits(ctx context.Context, d Disturbance, struck func()) error {
	exit := s.lab.Exits[d.Index]
	switch d.Kind {
	case FreezeExit:
		return freeze(ctx, d, struck, exit.Process)
	case KillExit:
		exit.Kill()
		struck()
		sleep(ctx, d.For)
		return s.exits.start(ctx, exit)
	case RestartExit:
		exit.Stop(drainWithin)
		struck()
		sleep(ctx, d.For)
		return s.exits.start(ctx, exit)
	case SwapExitFiles:
		defer sleep(ctx, d.For)
		return s.exits.swap()
	case ChangePolicy:
		defer sleep(ctx, d.For)
		return s.exits.changePolicy(ctx)
	case SpoilPolicy:
		return s.exits.spoilPolicy(ctx, d)
	}
	return fmt.Errorf("nobody knows how to do %q", d.Kind)
}

// start starts an exit again. An exit does not start with a policy that cannot be used.
func (e *exits) start(ctx context.Context, exit *lab.Exit) error {
	e.starting.Lock()
	defer e.starting.Unlock()
	return exit.Start(ctx)
}

// drainWithin bounds the end of an exit, whose streams may go on for a while.
const drainWithin = time.Minute

// changePolicy writes a policy that says the same in another way, and waits until the
// exits use it.
func (e *exits) changePolicy(ctx context.Context) error {
	e.policies++
	text := e.lab.ExitPolicy() + fmt.Sprintf("  - clients: [{commonName: other-%d}]\n    cidrs: [%s]\n", e.policies, lab.PodCIDR(lab.IPv4))
	return e.write(ctx, text, `proxy_exit_policy_reloads_total{result="ok"}`)
}

// spoilPolicy writes a policy that cannot be used. The exits keep the one before.
func (e *exits) spoilPolicy(ctx context.Context, d Disturbance) error {
	e.starting.Lock()
	defer e.starting.Unlock()
	e.policies++
	err := e.write(ctx, fmt.Sprintf("kind: ExitPolicy\nrules: # %d\n  - clients: []\n", e.policies), `proxy_exit_policy_reloads_total{result="failed"}`)
	sleep(ctx, d.For)
	return errors.Join(err, e.changePolicy(ctx))
}

// write replaces the policy, and waits until a counter of each exit that runs has grown.
func (e *exits) write(ctx context.Context, text, counter string) error {
	before := make([]float64, len(e.lab.Exits))
	for i, exit := range e.lab.Exits {
		if m, err := exit.Metrics(ctx); err == nil {
			before[i] = m[counter]
		}
	}
	if err := e.lab.WriteExitPolicy(text); err != nil {
		return err
	}
	return lab.Poll(ctx, "the exits to read their policy", func(ctx context.Context) error {
		for i, exit := range e.lab.Exits {
			if !exit.Running() {
				continue // it reads the policy when it starts
			}
			m, err := exit.Metrics(ctx)
			if err != nil {
				return err
			}
			if m[counter] <= before[i] {
				return fmt.Errorf("%s: %s is %v", exit.Name, counter, m[counter])
			}
		}
		return nil
	})
}

// read returns the footprint of each exit.
func (e *exits) read(ctx context.Context) (all []footprint, err error) {
	for _, exit := range e.lab.Exits {
		f, err := readFootprint(ctx, exit.Metrics)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", exit.Name, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// settle waits until no exit uses more than after the warm-up.
func (e *exits) settle(ctx context.Context) (after []footprint, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = lab.Poll(ctx, "the exits to give back what they took", func(ctx context.Context) error {
		now, err := e.read(ctx)
		if err != nil {
			return err
		}
		after = now
		for i, f := range now {
			if err := e.before[i].grown(f); err != nil {
				return fmt.Errorf("%s: %w", e.lab.Exits[i].Name, err)
			}
		}
		return nil
	})
	return after, err
}

// quietExits checks that no stream is left at an exit, and that upstream knows of no
// connections but the tunnels.
func (s *site) quietExits(ctx context.Context) error {
	var tunnels, streams, established, endpoints float64
	for _, exit := range s.lab.Exits {
		m, err := exit.Metrics(ctx)
		if err != nil {
			return err
		}
		tunnels += m[lab.ExitConnections]
		streams += m[lab.ExitStreams]
	}
	for _, server := range s.lab.Servers {
		m, err := server.Metrics(ctx)
		if err != nil {
			return err
		}
		established += m.Sum(lab.ServerEstablished)
	}
	for _, agent := range s.lab.Agents {
		m, err := agent.Metrics(ctx)
		if err != nil {
			return err
		}
		endpoints += m.Sum(lab.AgentEndpoints)
	}
	if streams != 0 || established > tunnels || endpoints != tunnels {
		return fmt.Errorf("the exits have %v streams and %v tunnels, the servers %v connections, the agents %v", streams, tunnels, established, endpoints)
	}
	return nil
}
