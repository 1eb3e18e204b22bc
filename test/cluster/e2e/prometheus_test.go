// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// TestPrometheusOfAnOperatorScrapesTheShoot tests the purpose of the product. An operator
// makes a Prometheus of a resource with the label. That Prometheus scrapes the shoot as
// if it were inside. One without the label scrapes nothing, although it finds the same
// targets.
func TestPrometheusOfAnOperatorScrapesTheShoot(t *testing.T) {
	t.Parallel()
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	m := newMonitoring(t, rig)
	strays := rig.WatchStrays(t)
	labelled := m.prometheus(t, "labelled", clustertest.InjectLabel+`: "true"`)
	unlabelled := m.prometheus(t, "unlabelled", "")
	m.wantInjected(t, labelled)
	m.wantScraped(t, labelled)

	clustertest.Eventually(t, "a Prometheus without the label to find all targets and to reach none", func(ctx context.Context) error {
		return m.allTargets(ctx, unlabelled, func(_ string, found target) error {
			if found.Health != "down" || !strings.Contains(found.LastError, "deadline exceeded") {
				return fmt.Errorf("it is %s, and not silent: %s", found.Health, found.LastError)
			}
			return nil
		})
	})
	strays.WantNone(t, labelled)
	if strays.From(t, unlabelled.Status.PodIP) == 0 {
		t.Error("the test does not see what the Prometheus without the label sends into the seed's network")
	}
}

// wantInjected expects the pod to be the operator's, with the containers of the release
// in front of its own.
func (m *monitoring) wantInjected(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "StatefulSet" {
		t.Errorf("the controller of %s is %v, want a StatefulSet", pod.Name, owner)
	}
	digests := releaseDigests(t, releaseFolder(t))
	var got []string
	for _, c := range pod.Spec.InitContainers {
		got = append(got, c.Name)
		if digest, ok := digests[c.Name]; ok && !strings.HasSuffix(c.Image, "/shoot-proxy/"+c.Name+"@"+digest) {
			t.Errorf("container %s is of image %s, want the release's, %s", c.Name, c.Image, digest)
		}
	}
	if want := []string{"init-redirect", "proxy-client", "init-config-reloader"}; !slices.Equal(got, want) {
		t.Errorf("the init containers of %s are %q, want %q", pod.Name, got, want)
	}
}

// wantScraped waits until a Prometheus has all targets up, with samples that only they
// have.
func (m *monitoring) wantScraped(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	clustertest.Eventually(t, "all targets of the labelled Prometheus to be up", func(ctx context.Context) error {
		return m.allTargets(ctx, pod, wantUp)
	})
	var names, addresses []string
	for _, exporter := range m.exporters {
		names = append(names, exporter.Name)
		addresses = append(addresses, exporter.Status.PodIP+":9100 "+exporter.Name)
	}
	for _, series := range []struct {
		query string
		// Each sample's labels, joined by a space, have to be one of want.
		labels, want []string
		count        int
	}{
		{`node_uname_info{job="pods"}`, []string{"instance", "nodename"}, addresses, len(addresses)},
		{`node_uname_info{job="service"}`, []string{"nodename"}, names, 1},
		{`kubelet_node_name{job="kubelet"}`, []string{"node"}, []string{m.rig.Shoot.Name}, 1},
		{`container_memory_working_set_bytes{job="cadvisor",namespace="` + m.shootNamespace + `",container="exporter"} > 0`, []string{"pod"}, names, len(names)},
		{`coredns_build_info{job="coredns"}`, []string{"instance"}, m.targets["coredns"], len(m.targets["coredns"])},
		{`node_load1{job="node-exporter"}`, []string{"instance"}, m.targets["node-exporter"], 1},
		{`up{job!="` + otherCA + `"} == 1`, []string{"job"}, slices.Collect(maps.Keys(m.targets)), m.count() - 1},
	} {
		clustertest.Eventually(t, series.query, func(ctx context.Context) error {
			samples, err := m.query(ctx, pod, series.query)
			if err != nil {
				return err
			}
			if len(samples) != series.count {
				return fmt.Errorf("there are %d series, want %d: %v", len(samples), series.count, samples)
			}
			for _, s := range samples {
				var values []string
				for _, label := range series.labels {
					values = append(values, s.Metric[label])
				}
				if got := strings.Join(values, " "); !slices.Contains(series.want, got) {
					return fmt.Errorf("there is a series with %q of %q, want one of %q", got, series.labels, series.want)
				}
			}
			return nil
		})
	}
}

func wantUp(job string, found target) error {
	if job == otherCA {
		if found.Health != "down" || !strings.Contains(found.LastError, "certificate signed by unknown authority") {
			return fmt.Errorf("it is %s, and not rejected for its certificate: %s", found.Health, found.LastError)
		}
		return nil
	}
	if found.Health != "up" {
		return fmt.Errorf("it is %s: %s", found.Health, found.LastError)
	}
	return nil
}

// count returns the number of all targets.
func (m *monitoring) count() int {
	n := 0
	for _, addresses := range m.targets {
		n += len(addresses)
	}
	return n
}

// allTargets expects that a Prometheus has found the shoot's targets and no others. Each
// must meet the condition.
func (m *monitoring) allTargets(ctx context.Context, pod *corev1.Pod, condition func(job string, found target) error) error {
	found, err := m.askTargets(ctx, pod)
	if err != nil {
		return err
	}
	if len(found) > len(m.targets) {
		return clustertest.Final(fmt.Errorf("it has targets of jobs %q, want %q", slices.Collect(maps.Keys(found)), slices.Collect(maps.Keys(m.targets))))
	}
	for job, want := range m.targets {
		var got []string
		for _, t := range found[job] {
			got = append(got, t.address())
		}
		slices.Sort(got)
		if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			return fmt.Errorf("the targets of job %s are %q, want %q", job, got, want)
		}
		for _, t := range found[job] {
			if err := condition(job, t); err != nil {
				return fmt.Errorf("job %s, target %s: %w", job, t.address(), err)
			}
		}
	}
	return nil
}
