// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
		printed, ok := s.follow(t, shell, step)
		switch {
		case ok:
		case update:
			rewrite(t, document.Name, s.wrong.heading, step, printed)
		default:
			t.Errorf("%s\nprints\n%s\nand the document shows\n%s", step, printed, step.Output)
		}
	}
}

// follow runs the command of a step until it prints what the document shows. A reader
// would look again too: a line of the log comes after the connection has ended, and a reset
// may overtake the connect of curl, which then says something else.
func (s *scene) follow(t *testing.T, shell *markdown.Shell, step markdown.Step) (printed string, ok bool) {
	t.Helper()
	limit := hang
	if update {
		limit = 4 * time.Second
	}
	err := lab.Poll(labtest.Context(t, limit), "the document's words", func(context.Context) error {
		// Some commands end with an exit code, which is part of the case. wantNamed compares
		// those of check.
		printed, _ = shell.Run(labtest.Context(t, 2*hang), step.Command)
		if printed = s.asInAPod(printed); !markdown.Matches(steady(step.Output), steady(printed)) {
			return errors.New("it prints something else")
		}
		return nil
	})
	return printed, err == nil
}

// trailing matches the space at the ends of lines that fold leaves.
var trailing = regexp.MustCompile(`(?m) +$`)

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
	old, next := "$ "+step.Command+"\n"+step.Output, "$ "+step.Command+"\n"+trailing.ReplaceAllString(strings.TrimSpace(printed), "")
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
	shell, err := markdown.NewShell(s.Dir, append([]string{"PATH=" + folder + ":" + os.Getenv("PATH"), "LANG=C"}, s.command.Env...))
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
// as docs/debugging.md writes it. Like the real one, debug says the name of its container
// on standard output (pkg/cmd/debug of k8s.io/kubectl v0.36), and exec an exit code on
// standard error.
const kubectl = `#!/bin/bash
verb=$1 container=app
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  if [ "$1" = -c ]; then container=$2; fi
  shift
done
shift
in_pod() { nsenter --net=/run/netns/NAMESPACE setpriv --reuid "$1" --regid "$1" --clear-groups --pdeathsig keep "${@:2}"; }
case $verb,$container,$1 in
logs,*) cat 'LOG' ;;
debug,*,init-redirect) echo "Defaulting debug container name to debugger-x2b4k."; in_pod 0 'INIT_REDIRECT' "${@:2}" ;;
exec,proxy-client,/proxy-client) in_pod PROXY_UID 'PROXY_CLIENT' "${@:2}" ;;
exec,app,*) in_pod APP_UID "$@" ;;
*) echo "this kubectl cannot do that: $verb in $container: $*" >&2; exit 1 ;;
esac
code=$?
if [ $verb = exec ] && [ $code != 0 ]; then echo "command terminated with exit code $code" >&2; fi
exit $code
`

// tlsFile matches the path of a TLS file in the lab's folder.
var tlsFile = regexp.MustCompile(`/[a-z0-9-]+/[a-z]+(-ca)?\.(crt|key)`)

// asInAPod replaces the paths of TLS files, which only the lab has.
func (s *scene) asInAPod(printed string) string {
	parts := strings.Split(printed, s.Dir)
	for i, part := range parts[1:] {
		parts[i+1] = strings.Replace(part, tlsFile.FindString(part), podPath(tlsFile.FindStringSubmatch(part)), 1)
	}
	return strings.Join(parts, "")
}

// podPath returns the path in a pod for a match of tlsFile.
func podPath(match []string) string {
	switch {
	case match == nil:
		return ""
	case match[1] != "":
		return "/certs/ca/ca.crt"
	default:
		return "/certs/client/tls." + match[2]
	}
}

// changing matches what differs from run to run: times; durations and sizes for people and
// in the log; ids, ports of the pod and versions. Lines may break at each space.
var changing = regexp.MustCompile(strings.Join([]string{
	`\d{4}-\d\d-\d\d(T[0-9:.]+(Z|[+-]\d\d:\d\d))?`,
	`\b\d+(\.\d+)? (ms|s|seconds?|minutes?|hours?|days?)\b`,
	`\b\d+(\.\d+)? [KM]i?B\b`,
	`"[a-z_]*(seconds|bytes)":[0-9.e-]+`,
	`"(version|dial_id|connection_id)":"[^"]*"`,
	`\b10\.96\.0\.10:\d+`,
	`\bdebugger-[a-z0-9]{5}\b`,
	`(proxy-client check|version) [^ ,;]+`,
}, "|"))

// steady returns a text without what differs from run to run, and without space: where
// lines break depends on the rest.
func steady(text string) string {
	words := strings.Join(strings.Fields(text), " ")
	return strings.ReplaceAll(changing.ReplaceAllString(words, "…"), " ", "")
}
