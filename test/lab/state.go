// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// state is the content of the file that [Remove] reads.
type state struct {
	Dir        string         `json:"dir"`
	Namespaces []string       `json:"namespaces"`
	Processes  []stateProcess `json:"processes"`
}

// stateProcess identifies a process. The kernel may give its pid to another process, but
// not with the same start time.
type stateProcess struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Started string `json:"started"`
}

// Detach leaves a lab with the Detached option running when this program ends. It writes
// to path what [Remove] needs. The lab must not be used afterwards.
func (l *Lab) Detach(path string) error {
	if !l.opts.Detached {
		return errors.New("the lab was not built to outlive this program: Options.Detached is not set")
	}
	s := state{Dir: l.Dir}
	for _, p := range l.processes {
		if started, err := startTime(p.PID()); err == nil {
			s.Processes = append(s.Processes, stateProcess{Name: p.Name, PID: p.PID(), Started: started})
		}
	}
	for _, n := range l.namespaces {
		s.Namespaces = append(s.Namespaces, n.Name)
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return err
	}
	var errs []error
	for _, n := range l.namespaces {
		errs = append(errs, n.close(true))
	}
	return errors.Join(errs...)
}

// Remove removes a detached lab: its processes, namespaces, folder, and the file at path.
// Parts that are gone already are no error.
func Remove(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("read the lab's state in %s: %w", path, err)
	}
	if !strings.HasPrefix(filepath.Base(s.Dir), prefix) {
		return fmt.Errorf("%s does not describe a lab: its folder is %q", path, s.Dir)
	}
	for _, p := range s.Processes {
		if started, err := startTime(p.PID); err == nil && started == p.Started {
			_ = syscall.Kill(-p.PID, syscall.SIGKILL)
		}
	}
	var errs []error
	for _, p := range s.Processes {
		errs = append(errs, waitGone(p))
	}
	for _, name := range s.Namespaces {
		var st unix.Stat_t
		if err := unix.Stat("/run/netns/"+name, &st); err != nil {
			continue // it has ended already
		}
		errs = append(errs, endInhabitants(name, st.Ino), netns.DeleteNamed(name))
	}
	errs = append(errs, os.RemoveAll(s.Dir))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(path)
}

func waitGone(p stateProcess) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return Poll(ctx, fmt.Sprintf("%s (pid %d) to end", p.Name, p.PID), func(context.Context) error {
		if started, err := startTime(p.PID); err != nil || started != p.Started {
			return nil
		}
		return errors.New("still there")
	})
}

// startTime returns when a process started, in clock ticks since boot. It returns an
// error if there is no process, or if it has ended and was not waited for. See proc(5),
// stat, fields 3 and 22.
func startTime(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the name in parentheses, which may contain any character.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fmt.Errorf("pid %d has ended", pid)
	}
	return fields[19], nil
}
