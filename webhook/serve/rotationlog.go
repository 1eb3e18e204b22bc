// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// secretNotFilled is cert-controller's message about a Secret that another of its
// goroutines is about to fill (pkg/rotator, Reconcile). That goroutine's write makes
// cert-controller check again.
const secretNotFilled = "secret is not well-formed, cannot update webhook configurations"

// LibraryLog returns a handler for the logs of controller-runtime and cert-controller.
// It logs their expected errors at debug level. At the first start two goroutines of
// cert-controller fill the same Secret, and the second one tries again. A retry that
// finally fails is logged in its own line.
func LibraryLog(next slog.Handler) slog.Handler { return libraryLog{next} }

type libraryLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (l libraryLog) Handle(ctx context.Context, record slog.Record) error {
	if record.Level == slog.LevelError && isExpected(record) {
		if !l.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		record.Level = slog.LevelDebug
	}
	return l.Handler.Handle(ctx, record)
}

// isExpected reports whether a record is about an attempt that is repeated.
func isExpected(record slog.Record) bool {
	again := record.Message == secretNotFilled
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
