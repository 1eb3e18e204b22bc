// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Libraries' errors stay errors only if the library does not try again.
func TestRetriesThatAreExpectedAreNoErrors(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "certs", errors.New("changed"))
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "certs", errors.New("RBAC"))
	for _, tt := range []struct {
		name    string
		err     error
		message string
		level   string
	}{
		{"another one was faster", conflict, "could not refresh CA and server certs", "DEBUG"},
		{"the same, wrapped", fmt.Errorf("update: %w", conflict), "could not refresh server certs", "DEBUG"},
		{"another one is about to", errors.New("missing ca.crt"), secretNotFilled, "DEBUG"},
		{"a right is missing", forbidden, "could not refresh CA and server certs", "ERROR"},
		{"without an error", nil, "could not inject certs to webhooks", "ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, least := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
				var out bytes.Buffer
				handler := LibraryLog(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: least}))
				logr.FromSlogHandler(handler).WithName("cert-rotation").WithValues("a", 1).Error(tt.err, tt.message)
				want := tt.level == "ERROR" || least == slog.LevelDebug
				if got := strings.Contains(out.String(), "level="+tt.level); got != want || !want && out.Len() > 0 {
					t.Errorf("from level %s on it is logged as %q, want level %s", least, &out, tt.level)
				}
			}
		})
	}
}
