// SPDX-License-Identifier: Apache-2.0

package image

import (
	"debug/elf"
	"fmt"
	"os/exec"
	"path"
	"strings"
)

// Program returns a program of this machine at name in the image. It also returns the
// shared libraries and the loader that the program needs, with their paths on this
// machine.
func Program(binary, name string) ([]File, error) {
	files := []File{{Path: name, Source: binary}}
	dynamic, err := isDynamic(binary)
	if err != nil || !dynamic {
		return files, err
	}
	out, err := exec.Command("ldd", binary).Output()
	if err != nil {
		return nil, fmt.Errorf("ask ldd for the libraries of %s: %w", binary, err)
	}
	// Each line is "name => path (address)", "path (address)" for the loader, or "name
	// (address)" for what the kernel provides.
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "not found") {
			return nil, fmt.Errorf("%s lacks a library: ldd says %q", binary, strings.TrimSpace(line))
		}
		for _, field := range strings.Fields(line) {
			if path.IsAbs(field) {
				files = append(files, File{Path: path.Clean(field), Source: field})
				break
			}
		}
	}
	return files, nil
}

// isDynamic reports whether the kernel starts the program with a loader.
func isDynamic(binary string) (bool, error) {
	file, err := elf.Open(binary)
	if err != nil {
		return false, err
	}
	defer file.Close()
	for _, header := range file.Progs {
		if header.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}

// busybox returns the statically linked busybox and a link for each of its commands, in
// /bin.
func busybox(binary string) ([]File, error) {
	out, err := exec.Command(binary, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its commands: %w", binary, err)
	}
	files := []File{{Path: "/bin/busybox", Source: binary}}
	for _, command := range strings.Fields(string(out)) {
		if command != "busybox" {
			files = append(files, File{Path: path.Join("/bin", command), Link: "busybox"})
		}
	}
	return files, nil
}
