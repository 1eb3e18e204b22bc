// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tree makes files below a folder, and goes there, so that their names are short.
func tree(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// called returns a document of a kind that no command changes.
func called(name string) string { return "kind: Other\nmetadata: {name: " + name + "}\n" }

// TestSeveralFiles: each document of each file is there once. The order is that of the
// flags, and of the names in a folder. Messages name the document's file.
func TestSeveralFiles(t *testing.T) {
	tree(t, map[string]string{
		"a.yaml": called("a"), "b.yaml": called("b"), "with,comma": called("with"),
		"all/b.yml": called("all-b"), "all/a.yaml": called("all-a"), "all/c.json": `{"kind": "Other", "metadata": {"name": "all-c"}}`,
		"all/README.md": "no manifest", "all/.d.yaml": called("all-d"), "all/deeper/e.yaml": called("all-deeper-e"), "all/more/f.yaml": called("f"),
		"noend/a.yaml": "kind: Other\nmetadata: {name: noend}",
		"odd.txt":      called("odd"),
	})
	if err := os.Symlink("all", "link"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, args string
		want       string // "FILE: OBJECT" of each document, in order
	}{
		{"two", "-f b.yaml -f a.yaml", "b.yaml: b, a.yaml: a"},
		{"with a comma between", "-f a.yaml,b.yaml", "a.yaml: a, b.yaml: b"},
		{"by the long name", "--filename=a.yaml --filename b.yaml", "a.yaml: a, b.yaml: b"},
		{"one", "-f a.yaml", ": a"},
		{"one, whatever it is called", "-f odd.txt", ": odd"},
		{"standard input", "-f -", ": stdin"},
		{"standard input between two", "-f a.yaml -f - -f b.yaml", "a.yaml: a, -: stdin, b.yaml: b"},
		{"a folder", "-f all", "all/.d.yaml: all-d, all/a.yaml: all-a, all/b.yml: all-b, all/c.json: all-c"},
		{"a folder with a slash", "-f all/", "all/.d.yaml: all-d, all/a.yaml: all-a, all/b.yml: all-b, all/c.json: all-c"},
		{"a link to a folder", "-f link", "link/.d.yaml: all-d, link/a.yaml: all-a, link/b.yml: all-b, link/c.json: all-c"},
		{"folders in a folder", "-Rf all", "all/.d.yaml: all-d, all/a.yaml: all-a, all/b.yml: all-b, all/c.json: all-c, all/deeper/e.yaml: all-deeper-e, all/more/f.yaml: f"},
		{"a folder with one", "-f noend", "noend/a.yaml: noend"},
		{"without a line break at the end", "-f noend/a.yaml -f a.yaml", "noend/a.yaml: noend, a.yaml: a"},
		{"a pattern in quotes", "-f *.yaml", "a.yaml: a, b.yaml: b"},
		{"a pattern of folders", "-f all/d*", "all/deeper/e.yaml: all-deeper-e"},
	} {
		for _, command := range []string{"inject", "uninject", "explain"} {
			t.Run(tt.name+", "+command, func(t *testing.T) {
				code, stdout, stderr := outcome(t, called("stdin"), append([]string{command}, strings.Fields(tt.args)...)...)
				if code != 0 {
					t.Fatalf("exit code %d, stderr %s", code, stderr)
				}
				said := stderr
				if command == "explain" {
					said = stdout
				}
				var told []string
				for line := range strings.Lines(said) {
					if before, object, ok := strings.Cut(line, "document 1: Other "); ok {
						object, _, _ = strings.Cut(object, ":")
						told = append(told, strings.TrimSuffix(before, ": ")+": "+object)
					}
				}
				if got := strings.Join(told, ", "); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				if command == "explain" {
					return
				}
				_, reread, _ := outcome(t, stdout, "explain", "-f", "-")
				var objects, want []string
				for line := range strings.Lines(reread) {
					if _, object, ok := strings.Cut(line, ": Other "); ok {
						object, _, _ = strings.Cut(object, ":")
						objects = append(objects, object)
					}
				}
				for _, one := range strings.Split(tt.want, ", ") {
					_, object, _ := strings.Cut(one, ": ")
					want = append(want, object)
				}
				if strings.Join(objects, " ") != strings.Join(want, " ") {
					t.Errorf("the output has %q, want %q:\n%s", objects, want, stdout)
				}
			})
		}
	}
}

func TestBadNamesOfFiles(t *testing.T) {
	tree(t, map[string]string{"a.yaml": called("a"), "empty/README.md": "", "deep/er/a.yaml": called("a"), "linked/note": "", "piped/deeper/note": "", "linkedpipe/note": ""})
	if err := os.Symlink("../empty", "linked/a.yaml"); err != nil {
		t.Fatal(err)
	}
	for _, pipe := range []string{"piped/a.yaml", "piped/deeper/b.json"} {
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../piped/a.yaml", "linkedpipe/a.yaml"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, args string
		want       []string
	}{
		{"a pipe in a folder", "-f piped", []string{`--filename "piped/a.yaml"`, "is neither a file nor a folder, and may have no end: remove it, or name it by itself"}},
		{"a pipe in a folder's folder", "-Rf piped/deeper", []string{`--filename "piped/deeper/b.json"`, "neither a file nor a folder"}},
		{"a link to a pipe", "-f linkedpipe", []string{`--filename "linkedpipe/a.yaml"`, "neither a file nor a folder"}},
		{"a pipe of a pattern", "-f piped/a*", []string{`--filename "piped/a.yaml"`, "neither a file nor a folder"}},
		{"one of two is not there", "-f a.yaml -f nowhere.yaml", []string{`--filename "nowhere.yaml" cannot be read: there is no such file` + "\n"}},
		{"a folder without any", "-f empty", []string{`--filename "empty"`, "*.yaml", "-R"}},
		{"folders without any", "-Rf empty", []string{`--filename "empty"`, "*.yaml", "neither"}},
		{"a folder whose folders have some", "-f deep", []string{`--filename "deep"`, "-R"}},
		{"a folder that is called like a file", "-f linked", []string{`--filename "linked/a.yaml"`, "directory"}},
		{"standard input twice", "-f - -f a.yaml -f -", []string{`--filename "-"`, "twice", "once"}},
		{"a URL", "-f https://registry.example/a.yaml", []string{`--filename "https://registry.example/a.yaml"`, "URL", "download"}},
		{"an empty name", "-f a.yaml,", []string{`--filename "a.yaml,"`, "empty name"}},
		{"a pattern of nothing", "-f b*.yaml", []string{`--filename "b*.yaml" is a pattern that matches no file: `}},
		{"a pattern of nothing in a folder that is not there", "-f no/b?.yaml", []string{`--filename "no/b?.yaml" is a pattern that matches no file: `}},
		{"twice", "-f a.yaml -f ./a.yaml", []string{`--filename "./a.yaml" is named twice, and its documents would come out twice: name it once`}},
		{"in a folder too", "-f deep/er -f deep/er/a.yaml", []string{`--filename "deep/er/a.yaml" is named twice`}},
		{"in two patterns", "-f *.yaml -f a*", []string{`--filename "a.yaml" is named twice`}},
		{"a broken pattern", "-f [", []string{`--filename "["`, "is neither a file nor a pattern", "]"}},
		{"two configurations", "-f a.yaml --config=a.yaml --config=b.yaml", []string{`--config "b.yaml"`, "a.yaml", "twice"}},
		{"a folder for a configuration", "-f a.yaml --config=deep", []string{`--config "deep"`, "directory"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := outcome(t, called("stdin"), append([]string{"inject"}, strings.Fields(tt.args)...)...)
			if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("want exit code 2 and one sentence, got %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			for _, part := range tt.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("the sentence does not say %q: %s", part, stderr)
				}
			}
		})
	}
}

// TestAPipeByItself: a pipe that is named by itself is read to its end. A shell makes one
// of <(…).
func TestAPipeByItself(t *testing.T) {
	tree(t, nil)
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile("pipe", []byte(called("piped")), 0) }()
	code, _, stderr := outcome(t, "", "inject", "-f", "pipe")
	if code != 0 || !strings.Contains(stderr, "document 1: Other piped") {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestOneRefusalOfSeveralFiles: if one file is refused, no document of the others is
// printed.
func TestOneRefusalOfSeveralFiles(t *testing.T) {
	tree(t, map[string]string{"config": config, "a.yaml": labelled, "b.yaml": hostNetwork, "c.yaml": labelled})
	code, stdout, stderr := outcome(t, "", "inject", "-f", "a.yaml,b.yaml,c.yaml", "--config=config")
	if code != 1 || stdout != "" {
		t.Errorf("want exit code 1 and no output, got %d and\n%s", code, stdout)
	}
	for _, want := range []string{"a.yaml: document 1: Pod app: injected: ", "\nb.yaml: document 1: Pod app: refused: ", "\nc.yaml: document 1: Pod app: injected: ", "\nwebhook: one document was refused"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr does not have %q:\n%s", want, stderr)
		}
	}
}

// TestTooMuchOfSeveralFiles: the limit is for all files together.
func TestTooMuchOfSeveralFiles(t *testing.T) {
	half := "# " + strings.Repeat("x", maxInput/2) + "\n"
	tree(t, map[string]string{"a.yaml": half, "b.yaml": half})
	if code, _, stderr := outcome(t, "", "uninject", "-f", "a.yaml"); code != 0 {
		t.Errorf("one: exit code %d, stderr %s", code, stderr)
	}
	code, _, stderr := outcome(t, "", "uninject", "-f", ".")
	if code != 2 || !strings.Contains(stderr, `--filename "b.yaml"`) || !strings.Contains(stderr, "64 MiB") {
		t.Errorf("both: exit code %d, stderr %s", code, stderr)
	}
}
