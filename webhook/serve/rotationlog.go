// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// notYet is what cert-controller says of a Secret that another goroutine of its own is
// about to fill (pkg/rotator, Reconcile). That one's write has it look again.
const notYet = "secret is not well-formed, cannot update webhook configurations"

// LibraryLog is a handler for the logs of controller-runtime and cert-controller. What
// they call an error and expect themselves is for debugging: at the first start two
// goroutines of cert-controller fill the same Secret, and the second one tries again. A
// retry that fails for good has a line of its own.
func LibraryLog(next slog.Handler) slog.Handler { return libraryLog{next} }

type libraryLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (l libraryLog) Handle(ctx context.Context, record slog.Record) error {
	if record.Level == slog.LevelError && expected(record) {
		if !l.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		record.Level = slog.LevelDebug
	}
	return l.Handler.Handle(ctx, record)
}

// expected reports whether a record is of an attempt that is made again.
func expected(record slog.Record) bool {
	again := record.Message == notYet
	record.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && apierrors.IsConflict(err) {
			again = true
		}
		return !again
	})
	return again
}

// WithAttrs implements slog.Handler.
func (l libraryLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return libraryLog{l.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (l libraryLog) WithGroup(name string) slog.Handler { return libraryLog{l.Handler.WithGroup(name)} }
