// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/apiclients"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/internal/tlsobject"
)

// Config says which cluster to look at.
type Config struct {
	// Cluster is the API server, with the caller's identity.
	Cluster *rest.Config
	// Namespaces are those whose pods are looked at. Without one, all are.
	Namespaces []string
	// Version is that of the calling program.
	Version string
	// Image is the image of the pod that is asked for as a dry run. It is never pulled.
	Image string
	// PageSize is how many objects the API server is asked for at once. It is 500 if it is
	// 0.
	PageSize int64
	// Now returns the time. It is time.Now if it is nil.
	Now func() time.Time
	// Dial connects to a proxy-server. It is a net.Dialer's if it is nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// defaultPageSize is how many objects the API server is asked for at once.
const defaultPageSize = 500

// Limits of the requests, so that a large cluster is not disturbed.
const (
	requestsPerSecond = 50
	requestBurst      = 100
	dialTimeout       = 3 * time.Second
	dryRunTimeout     = 15 * time.Second
)

// inspection is one run. Each check reads what it needs, and what earlier ones have read.
type inspection struct {
	Config
	now     time.Time
	clients *apiclients.Clients
	denials reading.Denials
	report  *Report

	namespaces map[string]*corev1.Namespace // nil if they could not be read
	hook       *registration                // nil if there is none
	install    *installation                // nil if it was not found
	nodes      []corev1.Node
	nodesRead  bool
	addresses  seedAddresses
	pods       []*corev1.Pod // those with the label
	workloads  []*workload   // those with the label in their template
	sources    sources
	subjects   []*subject
	servers    []*server
	materials  map[string]*tlsobject.Object // what pods mount, by name and keys
}

// Run looks at a cluster. The error says why it could not begin, or that ctx has ended.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg.Image = cmp.Or(cfg.Image, "shoot-proxy/webhook")
	cfg.PageSize = cmp.Or(cfg.PageSize, defaultPageSize)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	cluster := rest.CopyConfig(cfg.Cluster)
	cluster.QPS, cluster.Burst = requestsPerSecond, requestBurst
	cluster.WarningHandler = rest.NoWarnings{}
	cfg.Cluster = cluster
	in := &inspection{Config: cfg, now: cfg.Now(), denials: reading.Denials{PageSize: cfg.PageSize}}
	in.report = &Report{Time: in.now, Cluster: cluster.Host, Version: cfg.Version, Namespaces: cfg.Namespaces}
	var err error
	if in.clients, err = apiclients.New(cluster); err != nil {
		return nil, err
	}
	if err := in.clients.Reach(ctx); err != nil {
		return nil, fmt.Errorf("the API server %s does not answer: see whether 'kubectl version' works with the same kubeconfig: %w", cluster.Host, err)
	}
	for _, step := range []func(context.Context){
		in.readNamespaces, in.checkRegistration, in.checkInstallation, in.readNodes, in.readPods, in.readWorkloads, in.checkDryRun,
		in.judge,
		in.checkPodSecurity, in.checkQuotas,
		in.checkNotInjected, in.checkOutdated, in.checkWorkloads,
		in.checkSecrets, in.findServers, in.checkServers,
		in.checkPolicies, in.checkRanges, in.checkNodes,
	} {
		switch step(ctx); {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("look at the installation: %w", context.Cause(ctx))
		case in.denials.Unauthorized != nil:
			return nil, fmt.Errorf("the API server %s does not accept the credentials: log in again, or give another --kubeconfig: %w", cluster.Host, in.denials.Unauthorized)
		}
	}
	in.report.Add(in.denials.Findings()...)
	return in.report, nil
}

// add adds findings to the report.
func (in *inspection) add(findings ...Finding) { in.report.Add(findings...) }

// scopes returns the namespaces to list objects in: those that were asked for, or all.
func (in *inspection) scopes() []string {
	if len(in.Namespaces) == 0 {
		return []string{""}
	}
	return in.Namespaces
}

// subject is a pod that is injected or should be: one of the cluster, or a template's.
type subject struct {
	// name is what a person calls it, such as "Pod monitoring/app-0".
	name      string
	namespace string
	// pod is the pod, or one made from a template. real is set for the former.
	pod   *corev1.Pod
	real  bool
	owner owner
	// static is set for the image of a static pod in the API server. What the webhook did
	// to it has no effect on the node.
	static bool
	// version and hash are of an injected pod.
	version, hash string
	statusErr     error
	// now is what the webhook would decide today. It is nil if that cannot be told.
	now *webhook.Result
}

// injected reports whether the pod has its redirect.
func (s *subject) injected() bool { return s.hash != "" && !s.static }

// spec returns the pod as it is, or as it would be made. It is nil if that has no
// redirect.
func (s *subject) spec() *corev1.Pod {
	switch {
	case s.static:
		return nil
	case s.injected():
		return s.pod
	case s.now != nil && s.now.Pod != nil:
		return s.now.Pod
	default:
		return nil
	}
}

// namespaceOf returns a namespace, or nil if it could not be read.
func (in *inspection) namespaceOf(name string) *corev1.Namespace { return in.namespaces[name] }

// unique returns sorted values without duplicates.
func unique(values []string) []string {
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values)
}
