// SPDX-License-Identifier: Apache-2.0

// Package apiclients has the clients of an API server that an inspection needs.
//
// They share their connections and one limit of requests. It does not know what is asked
// for.
package apiclients

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

// Clients ask the API server. They share their connections and one limit of requests.
type Clients struct {
	Core       corev1client.CoreV1Interface
	Apps       appsv1client.AppsV1Interface
	Batch      batchv1client.BatchV1Interface
	Admission  admissionv1client.AdmissionregistrationV1Interface
	Discovery  discoveryv1client.DiscoveryV1Interface
	Networking networkingv1client.NetworkingV1Interface
	Dynamic    dynamic.Interface
}

// Reach returns why there is no answer from the API server. That it refuses a request is an
// answer.
func (c *Clients) Reach(ctx context.Context) error {
	err := c.Core.RESTClient().Get().AbsPath("/version").Do(ctx).Error()
	if _, answered := errors.AsType[*apierrors.StatusError](err); answered {
		return nil
	}
	return err
}

// Serves reports whether the API server has a resource. A caller without rights for a
// resource that is not there would get the answer that it is forbidden. If it cannot be
// told, the result is true.
func (c *Clients) Serves(ctx context.Context, of schema.GroupVersionResource) bool {
	data, err := c.Core.RESTClient().Get().AbsPath("/apis", of.Group, of.Version).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(data, &list); err != nil {
		return true
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == of.Resource })
}

// New returns clients with the limits of config.
func New(config *rest.Config) (*Clients, error) {
	config = rest.CopyConfig(config)
	config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst)
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	// JSON of thousands of pods takes several times as long.
	typed := rest.CopyConfig(config)
	typed.AcceptContentTypes, typed.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/json"
	c := &Clients{}
	var errs [7]error
	c.Core, errs[0] = corev1client.NewForConfigAndClient(typed, httpClient)
	c.Apps, errs[1] = appsv1client.NewForConfigAndClient(typed, httpClient)
	c.Batch, errs[2] = batchv1client.NewForConfigAndClient(typed, httpClient)
	c.Admission, errs[3] = admissionv1client.NewForConfigAndClient(typed, httpClient)
	c.Discovery, errs[4] = discoveryv1client.NewForConfigAndClient(typed, httpClient)
	c.Networking, errs[5] = networkingv1client.NewForConfigAndClient(typed, httpClient)
	c.Dynamic, errs[6] = dynamic.NewForConfigAndClient(config, httpClient)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return c, nil
}
