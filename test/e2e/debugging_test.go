// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/markdown"
)

// update says that what the commands print is to be written into docs/debugging.md.
var update = os.Getenv("UPDATE_DEBUGGING") != ""

// debugging reads docs/debugging.md. Below each heading of the third level is one case.
func debugging(t *testing.T) *markdown.Document {
	t.Helper()
	root, err := lab.RepositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	document, err := markdown.Read(filepath.Join(root, "docs", "debugging.md"))
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// TestEachCaseOfDebuggingIsProvoked: each case of docs/debugging.md has a failure.
// TestEachFailureIsNamed provokes it and runs the case's commands.
func TestEachCaseOfDebuggingIsProvoked(t *testing.T) {
	var provoked []string
	for _, f := range failures() {
		if f.heading != "" {
			provoked = append(provoked, f.heading)
		}
	}
	slices.Sort(provoked)
	if diff := cmp.Diff(slices.Sorted(slices.Values(headings(t, debugging(t).Name))), provoked); diff != "" {
		t.Errorf("the cases (-docs/debugging.md +failures):\n%s", diff)
	}
}

// wantDocumented follows the document: it runs the commands below the failure's heading.
// They print what the document shows, except for times, durations and ports.
func (s *scene) wantDocumented(t *testing.T) {
	t.Helper()
	document := debugging(t)
	steps, err := document.Section(s.wrong.heading)
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) == 0 {
		t.Fatal("the document has no command for it")
	}
	shell := s.reader(t)
	for _, step := range steps {
		// Some commands end with an exit code, which is part of the case. TestEachFailureIsNamed
		// compares those of check.
		printed, _ := shell.Run(labtest.Context(t, 2*hang), step.Command)
		printed = s.asInAPod(printed)
		switch {
		case markdown.Matches(steady(step.Output), steady(printed)):
		case update:
			rewrite(t, document.Name, s.wrong.heading, step, printed)
		default:
			t.Errorf("%s\nprints\n%s\nand the document shows\n%s", step, printed, step.Output)
		}
	}
}

// rewriting is held while the document is written.
var rewriting sync.Mutex

// rewrite replaces what a document shows below a command.
func rewrite(t *testing.T, path, heading string, step markdown.Step, printed string) {
	t.Helper()
	rewriting.Lock()
	defer rewriting.Unlock()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, section, found := strings.Cut(string(text), "\n### "+heading+"\n")
	old, next := "$ "+step.Command+"\n"+step.Output, "$ "+step.Command+"\n"+strings.TrimSpace(printed)
	if step.Output == "" {
		old, next = "$ "+step.Command+"\n", next+"\n"
	}
	if !found || !strings.Contains(section, old) {
		t.Fatalf("%s is not below %q", step, heading)
	}
	changed := before + "\n### " + heading + "\n" + strings.Replace(section, old, next, 1)
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}

// headings returns the document's headings of the third level: one for each case.
func headings(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, match := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, match[1])
	}
	return all
}

// reader returns a shell in which kubectl runs commands in the lab's pod. It stands for
// the kubectl of a reader, since the lab has no API server.
func (s *scene) reader(t *testing.T) *markdown.Shell {
	t.Helper()
	folder := filepath.Join(s.Dir, "reader")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	kubectl := strings.NewReplacer("NAMESPACE", s.Pod.Name, "LOG", s.sidecar.LogPath, "PROXY_CLIENT", s.command.Path,
		"INIT_REDIRECT", s.ProgramPath("init-redirect"), "PROXY_UID", fmt.Sprint(lab.ProxyUID), "APP_UID", fmt.Sprint(lab.AppUID)).Replace(kubectl)
	if err := os.WriteFile(filepath.Join(folder, "kubectl"), []byte(kubectl), 0o755); err != nil {
		t.Fatal(err)
	}
	shell, err := markdown.NewShell(s.Dir, []string{"PATH=" + folder + ":" + os.Getenv("PATH"), "LANG=C"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shell.Close(); err != nil {
			t.Error(err)
		}
	})
	return shell
}

// kubectl knows three verbs: logs of the sidecar, exec in one of the containers, and debug
// as docs/debugging.md writes it.
const kubectl = `#!/bin/bash
verb=$1 container=app
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  if [ "$1" = -c ]; then container=$2; fi
  shift
done
shift
in_pod() { exec nsenter --net=/run/netns/NAMESPACE setpriv --reuid "$1" --regid "$1" --clear-groups --pdeathsig keep "${@:2}"; }
case $verb,$container,$1 in
logs,*) cat 'LOG' ;;
debug,*,init-redirect) in_pod 0 'INIT_REDIRECT' "${@:2}" ;;
exec,proxy-client,/proxy-client) in_pod PROXY_UID 'PROXY_CLIENT' "${@:2}" ;;
exec,app,*) in_pod APP_UID "$@" ;;
*) echo "this kubectl cannot do that: $verb in $container: $*" >&2; exit 1 ;;
esac
`

// asInAPod replaces what only the lab has.
func (s *scene) asInAPod(printed string) string {
	for _, c := range []struct{ lab, pod string }{
		{s.Dir + "/certs/frontend-ca.crt", "/certs/ca/ca.crt"},
		{s.Dir + "/certs/client.crt", "/certs/client/tls.crt"},
		{s.Dir + "/certs/client.key", "/certs/client/tls.key"},
		{s.Dir + "/secret/", "/certs/"},
	} {
		printed = strings.ReplaceAll(printed, c.lab, c.pod)
	}
	return printed
}

// changing matches what differs from run to run.
var changing = regexp.MustCompile(strings.Join([]string{
	`\d{4}-\d\d-\d\d(T[0-9:.]+(Z|[+-]\d\d:\d\d))?`,        // times
	`\d+(\.\d+)? (ms|s|seconds?|minutes?|hours?|days?)\b`, // durations for people
	`"[a-z_]*(seconds|bytes)":[0-9.e-]+`,                  // and in the log
	`"(version|dial|dial_id)":"[^"]*"`,                    //
	`\b10\.96\.0\.10:\d+`,                                 // ports of the pod
	`(proxy-client check|version) [^ ,;]+`,                //
	`\b\d+(\.\d+)? [KM]i?B\b`,                             //
}, "|"))

// steady returns a text without what differs from run to run. Where lines break depends on
// that too, so all space is alike.
func steady(text string) string {
	return strings.Join(strings.Fields(changing.ReplaceAllString(text, "…")), " ")
}
