// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// testRotation replaces one CA by another, as cert-manager's ca-injector and any operator
// have to. kube-apiserver first trusts both. Then the webhook gets its certificate from
// the new one. At last kube-apiserver forgets the old one. Pods are made all the time,
// and none is refused. kube-apiserver keeps its connections, and would not notice a
// certificate that it does not trust. Each step therefore makes it connect again.
func (in *installed) testRotation(t *testing.T) {
	namespace := in.namespace(t, "rotation", nil)
	load := in.load(t, namespace)
	for range 2 {
		load.goOn(t)
		next := in.serving.authority(t)
		in.trust(t, in.ca, next)
		load.goOn(t)
		cert := in.serving.replace(t, next)
		in.served(t, in.port.Address(), cert)
		in.reconnect(t, in.chart)
		load.goOn(t)
		in.trust(t, next)
		load.goOn(t)
		in.ca = next
	}
	total := load.stop(t)
	t.Logf("%d admissions", total)
}

// trust writes the CAs of the webhook's certificate, and returns once kube-apiserver uses
// them.
func (in *installed) trust(t *testing.T, authorities ...*lab.Authority) {
	t.Helper()
	var bundle []byte
	for _, ca := range authorities {
		bundle = append(bundle, read(t, ca.File)...)
	}
	in.bundle(t, in.chart, func([]byte) []byte { return bundle })
}

// reconnect makes kube-apiserver close its connections. It does so if the caBundle has
// other bytes. The new bytes mean the same as the old ones.
func (s *system) reconnect(t *testing.T, chart manifests) {
	t.Helper()
	s.bundle(t, chart, func(old []byte) []byte { return append(old, '\n') })
}

// bundle changes the caBundle of the chart's webhook.
func (s *system) bundle(t *testing.T, chart manifests, change func([]byte) []byte) {
	t.Helper()
	configurations := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	name := chart.of(t, "MutatingWebhookConfiguration").GetName()
	configuration, err := configurations.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range configuration.Webhooks {
		client := &configuration.Webhooks[i].ClientConfig
		client.CABundle = change(client.CABundle)
	}
	if _, err := configurations.Update(t.Context(), configuration, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.settle(t)
}

// served returns once the webhook presents this certificate to a new client.
func (s *system) served(t *testing.T, address string, cert []byte) {
	t.Helper()
	want, _ := pem.Decode(cert)
	if want == nil {
		t.Fatal("the certificate is no PEM")
	}
	eventually(t, "the webhook's new certificate", func(ctx context.Context) error {
		// The certificate is not verified: it is compared.
		dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer conn.Close()
		state := conn.(*tls.Conn).ConnectionState()
		if !bytes.Equal(state.PeerCertificates[0].Raw, want.Bytes) {
			return errors.New("it shows the old one")
		}
		return nil
	})
}

// load makes labelled pods until it is stopped. They are dry runs, so that they need not
// be removed.
type load struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
	done   [4]atomic.Int64 // number of pods of each worker

	mutex    sync.Mutex
	failures []error
}

func (s *system) load(t *testing.T, namespace string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	t.Cleanup(func() { cancel(); l.group.Wait() })
	for i := range l.done {
		l.group.Go(func() {
			for ctx.Err() == nil {
				pod, err := s.client.CoreV1().Pods(namespace).Create(ctx, labelled(nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err == nil {
					err = injected(pod)
				}
				if ctx.Err() != nil {
					return // the stop ended this request as well
				}
				if err != nil {
					l.mutex.Lock()
					l.failures = append(l.failures, err)
					l.mutex.Unlock()
				}
				l.done[i].Add(1)
			}
		})
	}
	return l
}

func injected(pod *corev1.Pod) error {
	if len(pod.Spec.InitContainers) == 0 || pod.Spec.InitContainers[0].Name != initRedirect {
		return errors.New("a labelled pod came back without init-redirect")
	}
	return nil
}

// goOn returns once every worker has made pods that it began after the call.
func (l *load) goOn(t *testing.T) {
	t.Helper()
	for i := range l.done {
		before := l.done[i].Load()
		eventually(t, "more pods", func(context.Context) error {
			if made := l.done[i].Load() - before; made < 3 {
				return fmt.Errorf("%d more", made)
			}
			return nil
		})
	}
}

// stop returns how many pods were made, and expects that all of them are injected.
func (l *load) stop(t *testing.T) int64 {
	t.Helper()
	l.cancel()
	l.group.Wait()
	var total int64
	for i := range l.done {
		total += l.done[i].Load()
	}
	if n := len(l.failures); n > 0 {
		t.Errorf("%d of %d pods were not injected, the first: %v", n, total, l.failures[0])
	}
	return total
}
