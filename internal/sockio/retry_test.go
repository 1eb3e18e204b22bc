// SPDX-License-Identifier: Apache-2.0

package sockio

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRetry(t *testing.T) {
	for name, tc := range map[string]struct {
		ends  []error
		calls int
		err   error
	}{
		"at once":           {[]error{nil}, 1, nil},
		"after two signals": {[]error{unix.EINTR, unix.EINTR, nil}, 3, nil},
		"other errors":      {[]error{unix.EINTR, unix.EAGAIN, nil}, 2, unix.EAGAIN},
		"wrapped":           {[]error{os.NewSyscallError("read", unix.EINTR), nil}, 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			n, err := retry(func() (int, error) {
				calls++
				return calls, tc.ends[calls-1]
			})
			if calls != tc.calls || n != calls || !errors.Is(err, tc.err) {
				t.Errorf("%d calls, %d, %v; want %d and %v of the last", calls, n, err, tc.calls, tc.err)
			}
		})
	}
}

// BenchmarkRetry shows that an uninterrupted call costs almost nothing.
func BenchmarkRetry(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = retry(func() (int, error) { return 1, nil })
	}
}
