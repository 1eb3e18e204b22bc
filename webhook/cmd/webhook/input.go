// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook/manifest"
)

// maxInput is how many bytes of manifests are read, for all files together. With a
// wrong file the limit gives an error instead of using all memory.
const maxInput = 64 << 20

// standardInput stands for standard input in place of a file's name.
const standardInput = "-"

// inputs are the manifests that the flags name.
type inputs struct {
	filenames []string
	recursive bool
	stdin     io.Reader
	left      int64           // how many more bytes may be read
	seen      map[string]bool // absolute paths of the files so far
}

// read returns the manifests in the order of the flags. Those of a folder are in the
// order of their paths.
func (in *inputs) read() ([]manifest.File, error) {
	in.left, in.seen = maxInput, map[string]bool{}
	if len(in.filenames) == 0 {
		return nil, &flagset.UsageError{Flag: "--filename", Problem: "is missing: name a manifest or a folder of manifests, or - for standard input"}
	}
	var files []manifest.File
	for i, name := range in.filenames {
		if name == standardInput && slices.Contains(in.filenames[:i], name) {
			return nil, &flagset.UsageError{Flag: "--filename", Value: name, Problem: "is given twice, and standard input can be read once"}
		}
		found, err := in.find(name)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if err := in.once(path); err != nil {
				return nil, err
			}
			text, err := in.file(path)
			if err != nil {
				return nil, err
			}
			files = append(files, manifest.File{Name: path, Text: text})
		}
	}
	if len(files) == 1 && files[0].Name == in.filenames[0] {
		files[0].Name = "" // a single file needs no name in messages
	}
	return files, nil
}

// once refuses a file that was named before. Two flags, or a flag and a folder, may
// name the same file.
func (in *inputs) once(path string) error {
	if path == standardInput {
		return nil
	}
	whole, err := filepath.Abs(path)
	if err != nil {
		return flagset.Unreadable("--filename", path, err)
	}
	if in.seen[whole] {
		return &flagset.UsageError{Flag: "--filename", Value: path, Problem: "is named twice, and its documents would come out twice: name it once"}
	}
	in.seen[whole] = true
	return nil
}

// find returns the paths of the manifests for a name: of a file, of a folder, or of a
// pattern that the shell did not expand.
func (in *inputs) find(name string) ([]string, error) {
	switch {
	case name == standardInput:
		return []string{name}, nil
	case name == "":
		return nil, &flagset.UsageError{Flag: "--filename", Value: strings.Join(in.filenames, ","), Problem: "has an empty name: write names with single commas between them"}
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		return nil, &flagset.UsageError{Flag: "--filename", Value: name, Problem: "is a URL: download it, and name the file, or pipe it to -f -"}
	}
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(name, `*?[`) {
		matches, bad := filepath.Glob(name)
		if bad != nil {
			return nil, &flagset.UsageError{Flag: "--filename", Value: name, Problem: "is neither a file nor a pattern, in which a [ needs its ]: name another", Err: bad}
		}
		if len(matches) == 0 {
			return nil, &flagset.UsageError{Flag: "--filename", Value: name, Problem: "is a pattern that matches no file: name another, or a file or a folder"}
		}
		var all []string
		for _, match := range matches {
			if err := checkEnds(match); err != nil {
				return nil, err
			}
			found, err := in.find(match)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
		return all, nil
	}
	switch {
	case err != nil:
		return nil, flagset.Unreadable("--filename", name, err)
	case info.IsDir():
		return in.folder(name)
	default:
		return []string{name}, nil
	}
}

// folder returns the manifests in a folder, known by the ends of their names, as
// kubectl knows them.
func (in *inputs) folder(name string) ([]string, error) {
	var found []string
	err := fs.WalkDir(os.DirFS(name), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return flagset.Unreadable("--filename", filepath.Join(name, path), err)
		case entry.IsDir() && path != "." && !in.recursive:
			return fs.SkipDir
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			found = append(found, filepath.Join(name, path))
			return checkEnds(filepath.Join(name, path))
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		deeper := "and -R looks into the folders in it"
		if in.recursive {
			deeper = "and neither has any folder in it"
		}
		err = &flagset.UsageError{Flag: "--filename", Value: name, Problem: "has no *.yaml, *.yml or *.json, " + deeper}
	}
	return found, err
}

// checkEnds refuses what a folder or a pattern has and that may have no end, such as a
// named pipe that no process writes to.
func checkEnds(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return flagset.Unreadable("--filename", path, err)
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return &flagset.UsageError{Flag: "--filename", Value: path, Problem: "is neither a file nor a folder, and may have no end: remove it, or name it by itself"}
	}
	return nil
}

// file reads one manifest.
func (in *inputs) file(name string) ([]byte, error) {
	text, err := readFile("--filename", name, in.stdin, in.left)
	in.left -= int64(len(text))
	return text, err
}

// readFile reads what a flag names, of at most so many bytes.
func readFile(flag, name string, stdin io.Reader, most int64) ([]byte, error) {
	from := stdin
	if name != standardInput {
		file, err := os.Open(name)
		if err != nil {
			return nil, flagset.Unreadable(flag, name, err)
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, most+1))
	if err != nil {
		return nil, flagset.Unreadable(flag, name, err)
	}
	if int64(len(data)) > most {
		return nil, &flagset.UsageError{Flag: flag, Value: name, Problem: fmt.Sprintf("is longer than the %d MiB that are read: name other files, or fewer at a time", maxInput>>20)}
	}
	return data, nil
}
