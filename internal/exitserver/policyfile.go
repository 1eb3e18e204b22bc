// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/regularfile"
)

// policyInterval is the time between two looks at the policy file.
const policyInterval = 2 * time.Second

// PolicyFile is a policy file, which may change.
type PolicyFile struct {
	path    string
	metrics *Metrics
	log     *slog.Logger
	current atomic.Pointer[exitpolicy.Policy]

	last     []byte // the content that was read last
	reported string // the problem that was logged last
}

// OpenPolicy reads a policy file. The text of an error is the end of a sentence that begins
// with the file's name.
func OpenPolicy(path string, metrics *Metrics, log *slog.Logger) (*PolicyFile, error) {
	f := &PolicyFile{path: path, metrics: metrics, log: log}
	data, err := ReadPolicy(path)
	if err != nil {
		return nil, err
	}
	policy, err := exitpolicy.Parse(data)
	if err != nil {
		return nil, err
	}
	f.last = data
	f.current.Store(policy)
	metrics.policyOK.Set(1)
	return f, nil
}

// ReadPolicy returns the content of a policy file.
func ReadPolicy(path string) ([]byte, error) {
	data, err := regularfile.Read(path)
	if errors.Is(err, regularfile.ErrTooLarge) {
		err = fmt.Errorf("is larger than %d bytes: a policy is a few KiB", regularfile.MaxSize)
	}
	return data, err
}

// Current returns the policy in use.
func (f *PolicyFile) Current() *exitpolicy.Policy { return f.current.Load() }

// Watch reads the file again whenever it changes, until ctx ends. A file that cannot be
// used changes nothing. changed is called after each change.
func (f *PolicyFile) Watch(ctx context.Context, changed func()) error {
	ticker := time.NewTicker(policyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if f.refresh() {
				changed()
			}
		}
	}
}

// refresh reads the file, and reports whether there is a new policy in use.
func (f *PolicyFile) refresh() bool {
	data, err := ReadPolicy(f.path)
	if err != nil {
		f.report(err)
		return false
	}
	if bytes.Equal(data, f.last) {
		if f.reported != "" { // the file was away for a moment
			f.report(nil)
		}
		return false
	}
	policy, err := exitpolicy.Parse(data)
	if err != nil {
		f.report(err)
		return false
	}
	f.last, f.reported = data, ""
	f.current.Store(policy)
	f.metrics.policyRead(true)
	f.log.Info("the policy has changed and is in use", "file", f.path, "rules", policy.Rules())
	return true
}

// report logs and counts a problem of the file, once.
func (f *PolicyFile) report(err error) {
	switch {
	case err == nil:
		f.reported = ""
		f.metrics.policyOK.Set(1)
		f.log.Info("the policy file is again the one in use", "file", f.path)
	case err.Error() != f.reported:
		f.reported = err.Error()
		f.metrics.policyRead(false)
		f.log.Error("the changed policy file cannot be used; the policy before stays in use", "file", f.path, "error", err)
	}
}
