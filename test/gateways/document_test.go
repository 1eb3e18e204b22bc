// SPDX-License-Identifier: Apache-2.0

package gateways

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const document = "../../docs/shared-balancer.md"

// block returns the block of the document that begins with a line.
func block(t *testing.T, language, first string) string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n```"+language+"\n"+first+"\n")
	inside, _, ends := strings.Cut(rest, "\n```\n")
	if !found || !ends {
		t.Fatalf("%s has no block of %s that begins with %q", document, language, first)
	}
	return inside + "\n"
}

// entry is what a client comes with: the port to which it connects, and the name that it
// sends.
type entry struct {
	port uint32
	name string
}

// routes maps an entry to the port of the server behind it.
type routes map[entry]uint32

// tested returns the routes of one shoot in HAProxy's configuration.
func tested(t *testing.T, shoot string) routes {
	t.Helper()
	var (
		all      = routes{}
		backends = map[string][]entry{}
		section  string
		listens  uint32
	)
	for line := range strings.Lines(block(t, "text", "global")) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case !strings.HasPrefix(line, " "):
			section = fields[len(fields)-1]
		case fields[0] == "bind":
			listens = portOf(t, fields[1])
		case fields[0] == "use_backend":
			name := regexp.MustCompile(`req\.ssl_sni -i (\S+)`).FindStringSubmatch(line)[1]
			backends[fields[1]] = append(backends[fields[1]], entry{listens, name})
		case fields[0] == "server":
			for _, e := range backends[section] {
				if strings.HasPrefix(e.name, shoot+".") {
					all[e] = portOf(t, fields[2])
				}
			}
		}
	}
	if len(all) != 2 {
		t.Fatalf("HAProxy's configuration has the routes %v for %s, want one for sidecars and one for agents", all, shoot)
	}
	return all
}

func portOf(t *testing.T, address string) uint32 {
	t.Helper()
	port, err := strconv.ParseUint(address[strings.LastIndexByte(address, ':')+1:], 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(port)
}

// add adds a route that must be new.
func (r routes) add(e entry, port uint32) error {
	if _, doubled := r[e]; doubled {
		return fmt.Errorf("two routes for %+v", e)
	}
	r[e] = port
	return nil
}
