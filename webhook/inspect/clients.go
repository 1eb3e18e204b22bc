// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	admissionv1client "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"
	batchv1client "k8s.io/client-go/kubernetes/typed/batch/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	networkingv1client "k8s.io/client-go/kubernetes/typed/networking/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// clients ask the API server. They share their connections and one limit of requests.
type clients struct {
	core       corev1client.CoreV1Interface
	apps       appsv1client.AppsV1Interface
	batch      batchv1client.BatchV1Interface
	admission  admissionv1client.AdmissionregistrationV1Interface
	discovery  discoveryv1client.DiscoveryV1Interface
	networking networkingv1client.NetworkingV1Interface
	dynamic    dynamic.Interface
}

// reach returns why there is no answer from the API server. That it refuses a request is an
// answer.
func (c *clients) reach(ctx context.Context) error {
	err := c.core.RESTClient().Get().AbsPath("/version").Do(ctx).Error()
	if _, answered := errors.AsType[*apierrors.StatusError](err); answered {
		return nil
	}
	return err
}

// serves reports whether the API server has a resource. A caller without rights for a
// resource that is not there would get the answer that it is forbidden. If it cannot be
// told, the result is true.
func (c *clients) serves(ctx context.Context, of schema.GroupVersionResource) bool {
	data, err := c.core.RESTClient().Get().AbsPath("/apis", of.Group, of.Version).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(data, &list); err != nil {
		return true
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == of.Resource })
}

func newClients(config *rest.Config) (*clients, error) {
	config = rest.CopyConfig(config)
	config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst)
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	// JSON of thousands of pods takes several times as long.
	typed := rest.CopyConfig(config)
	typed.AcceptContentTypes, typed.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/json"
	c := &clients{}
	var errs [7]error
	c.core, errs[0] = corev1client.NewForConfigAndClient(typed, httpClient)
	c.apps, errs[1] = appsv1client.NewForConfigAndClient(typed, httpClient)
	c.batch, errs[2] = batchv1client.NewForConfigAndClient(typed, httpClient)
	c.admission, errs[3] = admissionv1client.NewForConfigAndClient(typed, httpClient)
	c.discovery, errs[4] = discoveryv1client.NewForConfigAndClient(typed, httpClient)
	c.networking, errs[5] = networkingv1client.NewForConfigAndClient(typed, httpClient)
	c.dynamic, errs[6] = dynamic.NewForConfigAndClient(config, httpClient)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return c, nil
}
