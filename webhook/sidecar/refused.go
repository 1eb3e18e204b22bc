// SPDX-License-Identifier: Apache-2.0

package sidecar

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// refused returns the error for a request that the API server did not grant. What was
// attempted is a phrase such as `read pod "a"`.
func (a *Access) refused(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not %s: have an administrator give you that right: %w", what, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server %s does not accept your login, so it did not %s: log in again, or use another --context", a.Config.Host, what)
	}
	if _, answered := errors.AsType[*apierrors.StatusError](err); answered {
		return fmt.Errorf("the API server %s could not %s: %w", a.Config.Host, what, err)
	}
	said := err.Error()
	switch {
	case strings.Contains(said, "x509: "):
		return fmt.Errorf("the certificate of the API server %s is not the one that the kubeconfig expects: check the kubeconfig's certificate-authority, or fetch the kubeconfig anew: %w", a.Config.Host, err)
	case strings.Contains(said, "exec: executable ") || strings.Contains(said, "getting credentials"):
		return fmt.Errorf("the kubeconfig's credential program failed: log in again as for kubectl: %w", err)
	default:
		return fmt.Errorf("the API server %s does not answer: check that 'kubectl version' reaches it, and --context: %w", a.Config.Host, err)
	}
}
