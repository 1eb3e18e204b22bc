// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// story prints numbered steps, commands and their output for a person. It uses
// colour on a terminal only.
type story struct {
	out    io.Writer
	colour bool
	number int
}

func newStory(out io.Writer) *story {
	s := &story{out: out}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		info, err := f.Stat()
		s.colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

func (s *story) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// step begins a numbered scene.
func (s *story) step(title string) {
	s.number++
	fmt.Fprintf(s.out, "\n%s\n", s.paint("1", fmt.Sprintf("%d. %s", s.number, title)))
}

// say prints one sentence of explanation.
func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.out, "   "+format+"\n", args...)
}

// command shows what is run, as a person would type it at the prompt of a host.
func (s *story) command(host, line string) {
	fmt.Fprintf(s.out, "   %s %s\n", s.paint("36", host+"$"), line)
}

// output shows what a command printed, up to a number of lines.
func (s *story) output(text string, lines int) {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	cut := max(0, len(all)-lines)
	for _, line := range all[:len(all)-cut] {
		fmt.Fprintf(s.out, "     %s\n", line)
	}
	if cut > 0 {
		fmt.Fprintf(s.out, "     %s\n", s.paint("2", fmt.Sprintf("… and %d more lines", cut)))
	}
}

// check prints a check that passed.
func (s *story) check(format string, args ...any) {
	fmt.Fprintf(s.out, "   %s %s\n", s.paint("32", "ok"), fmt.Sprintf(format, args...))
}

func (s *story) trouble(logs string) {
	fmt.Fprintf(s.out, "\n%s\n%s\n", s.paint("31", "That did not hold. What the processes said:"), logs)
}

func (s *story) done(took time.Duration) {
	fmt.Fprintf(s.out, "\n%s\n", s.paint("1;32", fmt.Sprintf("Everything held, in %.1f seconds.", took.Seconds())))
}

// enter prints how to look around in a lab that stays.
func (s *story) enter(l *lab.Lab) {
	f := lab.IPv4
	fmt.Fprintf(s.out, `
%s
   the client's pod   ip netns exec %s bash
   the control plane  ip netns exec %s bash
   the shoot          ip netns exec %s bash
   logs               ls %s/logs

   Try, for instance:
   ip netns exec %s curl %s
   ip netns exec %s %s
   ip netns exec %s curl -s %s
   ip netns exec %s %s check %s
   Remove it with `+"`make demo-down`"+`.
`, s.paint("1;32", "Everything held, and the lab stays."), l.Pod.Name, l.Seed.Name, l.Shoot.Name, l.Dir,
		l.Pod.Name, lab.URL(lab.ShootPod(f, 1), 8080, "/"),
		l.Pod.Name, pathAndArgs(l.InitRedirectCommand("dump")),
		l.Pod.Name, l.SidecarURL("/metrics"),
		l.Pod.Name, l.ProgramPath("proxy-client"), netip.AddrPortFrom(lab.ShootPod(f, 1), 8080))
}

// pathAndArgs returns a command with its program's whole path, for a shell anywhere.
func pathAndArgs(c lab.Command) string {
	return c.Path + strings.TrimPrefix(c.String(), c.Path[strings.LastIndexByte(c.Path, '/')+1:])
}
