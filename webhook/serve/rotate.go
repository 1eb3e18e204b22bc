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

// leaderID is the Lease by which one of the replicas is chosen to rotate.
const leaderID = "shoot-proxy-webhook-certificates"

// rotateAgain is how long the rotation pauses after it has failed. The certificate
// that is in use has months to go.
const rotateAgain = 10 * time.Second

// Managed says for what the webhook issues its own certificate, and where it keeps
// it. One of the replicas does; all of them serve.
type Managed struct {
	// Namespace is the webhook's own. Service is what kube-apiserver calls it by,
	// and Secret where certificate and CA are; it has to be there, if empty.
	Namespace, Service, Secret string
	// Webhook is the MutatingWebhookConfiguration that is told the CA.
	Webhook string
}

// rotate issues certificates until ctx ends. What fails is tried again: the webhook
// does not need it to serve.
func (m *Managed) rotate(ctx context.Context, config *rest.Config, dir string, log *slog.Logger) error {
	for attempt := 1; ; attempt++ {
		err := m.lead(ctx, config, dir, attempt, log)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		log.ErrorContext(ctx, "the certificate's rotation failed; trying again", "error", err.Error(), "in", rotateAgain.String())
		if pause.For(ctx, rotateAgain); ctx.Err() != nil {
			return nil
		}
	}
}

// lead waits to be the one who rotates, and rotates until it is not any more.
func (m *Managed) lead(ctx context.Context, config *rest.Config, dir string, attempt int, log *slog.Logger) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme)); err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &onlyNamed{next, map[string]string{"secrets": m.Secret, "mutatingwebhookconfigurations": m.Webhook}}
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
		// controller-runtime remembers the names of controllers for ever.
		ControllerName:        fmt.Sprintf("certificates-%d", attempt),
		RequireLeaderElection: true,
	})
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// onlyNamed makes a list, or a watch, of a resource one of the single object that is
// meant. cert-controller would have all Secrets of the namespace, and all
// MutatingWebhookConfigurations: more than it needs to know, and to keep in memory.
// RBAC allows such lists by resourceNames.
type onlyNamed struct {
	next  http.RoundTripper
	names map[string]string // by resource
}

// RoundTrip implements http.RoundTripper.
func (o *onlyNamed) RoundTrip(r *http.Request) (*http.Response, error) {
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
