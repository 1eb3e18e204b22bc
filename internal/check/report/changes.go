// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

// key says which steps of two reports are about the same.
type key struct{ name, server, address, target, certificate string }

func (s Step) key() key {
	k := key{s.Name, s.Server, s.Address, s.Target, ""}
	if s.Name == StepFiles && len(s.Certificates) > 0 {
		k.certificate = s.Certificates[0].Subject
	}
	return k
}

// WriteChanges writes the steps whose result or cause is another than in the report last,
// and the verdict if it is another. It writes nothing if nothing has changed.
func (r *Report) WriteChanges(w io.Writer, last *Report) error {
	before := map[key]Step{}
	for _, s := range last.Steps {
		before[s.key()] = s
	}
	var b strings.Builder
	for _, s := range r.Steps {
		old, was := before[s.key()]
		if was && old.Result == s.Result && old.Cause == s.Cause {
			continue
		}
		if !was && s.Result == OK && s.Name == StepTiming {
			continue
		}
		if was {
			s.Found = fmt.Sprintf("was %s, is %s: %s", old.Result, s.Result, s.Found)
		}
		b.WriteString(s.text())
	}
	if b.Len() == 0 {
		return nil
	}
	verdict := ""
	if r.Result != last.Result || r.Result == Failure {
		verdict = clip.Printable(r.Verdict) + "\n"
	}
	_, err := fmt.Fprintf(w, "\nChanged at %s:\n%s%s", r.Checked.UTC().Format(time.RFC3339), b.String(), verdict)
	return err
}
