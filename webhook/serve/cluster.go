// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/source"
)

// How old an answer of the API server may be. That an object is missing is cached like
// an object.
const (
	// ConfigMapAge is short, because a user who writes a ConfigMap and then creates
	// pods expects it to be used.
	ConfigMapAge = time.Second
	// ClusterAge is longer, because a shoot's networks hardly change, and a Cluster is
	// large.
	ClusterAge = 10 * time.Second
)

// inCluster is the Sources of a real cluster.
type inCluster struct {
	core, gardener rest.Interface
	cache          cache.Cache
	namespaces     cache.Informer
	nodes          *nodes
	nodesSynced    func() bool
	configMaps     *answerCache[configMap]
	networks       *answerCache[*webhook.Networking]
}

var _ Sources = (*inCluster)(nil)

// configMap is a ConfigMap as it was read. The zero value means that there is none.
type configMap struct {
	uid     types.UID
	version string
	config  *webhook.Config
	err     error // why an existing one cannot be used
}

// newInCluster returns sources that can answer after run has begun.
func newInCluster(ctx context.Context, config *rest.Config, log *slog.Logger) (*inCluster, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // no limit: the API server limits its clients itself
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme)); err != nil {
		return nil, err
	}
	s := &inCluster{nodes: newNodes()}
	if s.core, err = restClient(config, httpClient, scheme, corev1.SchemeGroupVersion, "/api"); err != nil {
		return nil, err
	}
	if s.gardener, err = restClient(config, httpClient, scheme, source.Clusters.GroupVersion(), "/apis"); err != nil {
		return nil, err
	}
	s.configMaps = newAnswerCache(ConfigMapAge, s.readConfigMap)
	s.networks = newAnswerCache(ClusterAge, s.readNetworking)
	return s, s.watch(ctx, config, httpClient, scheme, log)
}

func restClient(config *rest.Config, httpClient *http.Client, scheme *runtime.Scheme, gv schema.GroupVersion, path string) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &gv, path
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c, err := rest.RESTClientForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return c, nil
}

// watch prepares the informers of namespaces and nodes.
func (s *inCluster) watch(ctx context.Context, config *rest.Config, httpClient *http.Client, scheme *runtime.Scheme, log *slog.Logger) error {
	mapper := meta.NewDefaultRESTMapper(nil) // both kinds are known, so the API server is not asked
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	var err error
	s.cache, err = cache.New(config, cache.Options{
		HTTPClient: httpClient, Scheme: scheme, Mapper: mapper,
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            keepUsed,
		DefaultWatchErrorHandler: func(ctx context.Context, r *toolscache.Reflector, err error) {
			log.WarnContext(ctx, "cannot watch; trying again", "what", r.TypeDescription(), "error", err.Error())
		},
	})
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	if s.namespaces, err = s.cache.GetInformer(ctx, namespaceObject(), cache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("watch namespaces: %w", err)
	}
	nodes, err := s.cache.GetInformer(ctx, &corev1.Node{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	told, err := nodes.AddEventHandler(s.nodes)
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	s.nodesSynced = told.HasSynced
	return nil
}

func namespaceObject() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return o
}

// keepUsed drops the unused parts of an object, because there may be many nodes and
// namespaces.
func keepUsed(object any) (any, error) {
	switch o := object.(type) {
	case *metav1.PartialObjectMetadata:
		kept := map[string]string{}
		if level, ok := o.Labels[source.PodSecurity]; ok {
			kept[source.PodSecurity] = level
		}
		o.ObjectMeta = metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Labels: kept}
	case *corev1.Node:
		*o = corev1.Node{
			TypeMeta:   o.TypeMeta,
			ObjectMeta: metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Labels: o.Labels},
			Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: o.Status.NodeInfo.KubeletVersion}},
		}
	}
	return object, nil
}

// run watches until ctx ends.
func (s *inCluster) run(ctx context.Context) error { return s.cache.Start(ctx) }

// ready returns an error if namespaces are missing. Nodes may be missing, because the
// webhook may lack the right to list them.
func (s *inCluster) ready() error {
	if !s.namespaces.HasSynced() {
		return errors.New("namespaces not read yet")
	}
	return nil
}

// Namespace implements Sources.
func (s *inCluster) Namespace(ctx context.Context, name string) (webhook.Namespace, error) {
	ns := namespaceObject()
	err := s.cache.Get(ctx, client.ObjectKey{Name: name}, ns)
	if err == nil {
		return webhook.Namespace{Name: name, PodSecurity: ns.Labels[source.PodSecurity]}, nil
	}
	if !apierrors.IsNotFound(err) {
		return webhook.Namespace{}, err
	}
	// The namespace may be newer than what the watch has reported.
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var fresh corev1.Namespace
	if err := s.core.Get().Resource("namespaces").Name(name).Do(ctx).Into(&fresh); err != nil {
		return webhook.Namespace{}, err
	}
	return webhook.Namespace{Name: name, PodSecurity: fresh.Labels[source.PodSecurity]}, nil
}

// OldestNode implements Sources.
func (s *inCluster) OldestNode(pod *corev1.Pod) int {
	if !s.nodesSynced() {
		return 0
	}
	return s.nodes.oldestFor(&pod.Spec)
}

// ConfigMap implements Sources.
func (s *inCluster) ConfigMap(ctx context.Context, namespace, name string) (*webhook.Config, error) {
	found, err := s.configMaps.get(ctx, namespace+"/"+name)
	if err != nil {
		return nil, err
	}
	return found.config, found.err
}

func (s *inCluster) readConfigMap(ctx context.Context, key string, previous configMap) (configMap, error) {
	namespace, name, err := toolscache.SplitMetaNamespaceKey(key)
	if err != nil {
		return configMap{}, err
	}
	var cm corev1.ConfigMap
	err = s.core.Get().Namespace(namespace).Resource("configmaps").Name(name).Do(ctx).Into(&cm)
	switch {
	case apierrors.IsNotFound(err):
		return configMap{}, nil
	case err != nil:
		return configMap{}, err
	case previous.uid == cm.UID && previous.version == cm.ResourceVersion:
		return previous, nil
	}
	found := configMap{uid: cm.UID, version: cm.ResourceVersion}
	found.config, found.err = source.ConfigMap(&cm)
	return found, nil
}

// Networking implements Sources.
func (s *inCluster) Networking(ctx context.Context, namespace string) (*webhook.Networking, error) {
	return s.networks.get(ctx, namespace)
}

func (s *inCluster) readNetworking(ctx context.Context, name string, _ *webhook.Networking) (*webhook.Networking, error) {
	result := s.gardener.Get().Resource(source.Clusters.Resource).Name(name).Do(ctx)
	switch err := result.Error(); {
	case apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse):
		// Not only this Cluster is missing: the resource itself is unknown.
		return nil, fmt.Errorf("the API server does not have %s: turn policy.gardener off where there is no Gardener: %w", source.Clusters.GroupResource(), err)
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	data, err := result.Raw()
	if err != nil {
		return nil, err
	}
	return source.Networking(name, data)
}
