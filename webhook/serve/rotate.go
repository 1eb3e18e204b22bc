// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"time"

	"github.com/go-logr/logr"
	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/shoot-proxy/proxy-client/internal/pause"
)

// leaderID is the name of the Lease that elects the replica that rotates.
const leaderID = "shoot-proxy-webhook-certificates"

// rotateRetryInterval is the pause after a failed rotation. The certificate in use is
// valid for months.
const rotateRetryInterval = 10 * time.Second

// Managed configures the webhook's own certificate. One replica issues it; all of them
// use it.
type Managed struct {
	// Namespace is the webhook's own. Service is its name for kube-apiserver. Secret
	// holds the certificate and the CA; it must exist, and may be empty.
	Namespace, Service, Secret string
	// Webhook is the MutatingWebhookConfiguration that gets the CA.
	Webhook string
}

// rotate issues certificates until ctx ends. It repeats what fails, because the webhook
// can serve without it.
func (m *Managed) rotate(ctx context.Context, config *rest.Config, dir string, log *slog.Logger) error {
	for attempt := 1; ; attempt++ {
		err := m.rotateAsLeader(ctx, config, dir, attempt, log)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		log.ErrorContext(ctx, "the certificate's rotation failed; trying again", "error", err.Error(), "in", rotateRetryInterval.String())
		if pause.For(ctx, rotateRetryInterval); ctx.Err() != nil {
			return nil
		}
	}
}

// rotateAsLeader waits to become the leader, and rotates until it is not the leader any
// more.
func (m *Managed) rotateAsLeader(ctx context.Context, config *rest.Config, dir string, attempt int, log *slog.Logger) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme)); err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &namedObjectsOnly{next, map[string]string{"secrets": m.Secret, "mutatingwebhookconfigurations": m.Webhook}}
	})
	mgr, err := manager.New(config, manager.Options{
		Scheme:                        scheme,
		Logger:                        logr.FromSlogHandler(LibraryLog(log.Handler())),
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:        "0",
		LeaderElection:                true,
		LeaderElectionID:              leaderID,
		LeaderElectionNamespace:       m.Namespace,
		LeaderElectionReleaseOnCancel: true,
		Cache:                         cache.Options{DefaultNamespaces: map[string]cache.Config{m.Namespace: {}}},
	})
	if err != nil {
		return err
	}
	name := m.Service + "." + m.Namespace + ".svc"
	err = rotator.AddRotator(mgr, &rotator.CertRotator{
		SecretKey:      types.NamespacedName{Namespace: m.Namespace, Name: m.Secret},
		CertDir:        dir,
		CAName:         "shoot-proxy-webhook-ca",
		CAOrganization: "shoot-proxy",
		DNSName:        name,
		ExtraDNSNames:  []string{m.Service + "." + m.Namespace},
		IsReady:        make(chan struct{}),
		Webhooks:       []rotator.WebhookInfo{{Name: m.Webhook, Type: rotator.Mutating}},
		FieldOwner:     "shoot-proxy-webhook",
		// controller-runtime never forgets the names of controllers.
		ControllerName:        fmt.Sprintf("certificates-%d", attempt),
		RequireLeaderElection: true,
	})
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// namedObjectsOnly limits each list and watch of a resource to one named object.
// cert-controller would read all Secrets of the namespace, and all
// MutatingWebhookConfigurations. It does not need these, and they would take memory.
// RBAC allows such lists by resourceNames.
type namedObjectsOnly struct {
	next  http.RoundTripper
	names map[string]string // by resource
}

// RoundTrip implements http.RoundTripper.
func (o *namedObjectsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	name, ok := o.names[path.Base(r.URL.Path)]
	if r.Method != http.MethodGet || !ok {
		return o.next.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	query := r.URL.Query()
	query.Set("fieldSelector", "metadata.name="+name)
	r.URL.RawQuery = query.Encode()
	return o.next.RoundTrip(r)
}
