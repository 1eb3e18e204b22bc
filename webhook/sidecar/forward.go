// SPDX-License-Identifier: Apache-2.0

package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Forwarding is a local port that leads to a port on the loopback address of a pod.
type Forwarding struct {
	// Address is the local address, such as 127.0.0.1:40123.
	Address string

	stop func()
	done chan struct{}
	err  error // of the forwarding, once done is closed

	said *lines // what went wrong with single connections
}

// Forward makes a local port that leads to a port of the pod. The local port may be 0 for
// any that is free. Close it after use.
func (a *Access) Forward(ctx context.Context, pod *corev1.Pod, local, remote int) (*Forwarding, error) {
	url := a.Core.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(a.Config)
	if err != nil {
		return nil, a.notForwarded(pod, remote, err)
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, a.Config)
	if err != nil {
		return nil, a.notForwarded(pod, remote, err)
	}
	dialer := portforward.NewFallbackDialerForStreaming(websocket, spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url), needsSPDY)
	stop, ready, said := make(chan struct{}), make(chan struct{}), &lines{}
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%d", local, remote)}, stop, ready, io.Discard, said)
	if err != nil {
		return nil, a.notForwarded(pod, remote, err)
	}
	f := &Forwarding{stop: sync.OnceFunc(func() { close(stop) }), done: make(chan struct{}), said: said}
	go func() {
		defer close(f.done)
		f.err = forwarder.ForwardPorts()
	}()
	select {
	case <-ready:
		ports, err := forwarder.GetPorts()
		if err != nil {
			f.Close()
			return nil, a.notForwarded(pod, remote, err)
		}
		f.Address = fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
		return f, nil
	case <-f.done:
		return nil, a.notForwarded(pod, remote, f.err)
	case <-ctx.Done():
		f.Close()
		return nil, fmt.Errorf("a connection to port %d of pod %q was not made in time: %w", remote, pod.Name, ctx.Err())
	}
}

// Close ends the forwarding, and its connections.
func (f *Forwarding) Close() {
	f.stop()
	<-f.done
}

// Wait returns when ctx ends, with nil, or when the way to the pod breaks.
func (f *Forwarding) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.done:
		if f.err != nil {
			return fmt.Errorf("the connection to the pod has ended: run the command again once the pod runs: %w", f.err)
		}
		return nil
	}
}

// Get reads a document, of at most so many bytes.
func (f *Forwarding) Get(ctx context.Context, path string, most int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.Address+path, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		if said := f.said.text(); strings.Contains(said, "connection refused") {
			return nil, fmt.Errorf("nothing listens on the sidecar's admin address: the sidecar is older than that address, or --admin-address is another or empty: %s", said)
		}
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("GET %s: %s", path, response.Status)
	case int64(len(body)) > most:
		return nil, fmt.Errorf("GET %s: more than %d bytes", path, most)
	}
	return body, nil
}

// notForwarded returns the error for a port that could not be forwarded.
func (a *Access) notForwarded(pod *corev1.Pod, port int, err error) error {
	what := fmt.Sprintf("connect to port %d of pod %q in namespace %q", port, pod.Name, pod.Namespace)
	switch {
	case err == nil:
		return errors.New("the way to the pod ended at once: ask again")
	case apierrors.IsForbidden(err) || strings.Contains(err.Error(), "is forbidden: User "):
		return fmt.Errorf("you may not %s: have an administrator give you the right to create pods/portforward there: %w", what, err)
	case strings.Contains(err.Error(), "unable to listen on any of the requested ports"):
		return fmt.Errorf("the local port is in use: give another with --port: %w", err)
	case unreachableKubelet(err.Error()):
		return fmt.Errorf("the API server cannot reach the kubelet of node %q, on which the pod runs: look at that node, or at the firewall or proxy-server before it: %w", pod.Spec.NodeName, err)
	default:
		return a.refused(err, "%s", what)
	}
}

// lines keeps what is written to it.
type lines struct {
	mutex sync.Mutex
	all   strings.Builder // guarded by mutex
}

// Write implements io.Writer.
func (l *lines) Write(text []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.all.Len() > 16<<10 {
		return len(text), nil
	}
	return l.all.Write(text)
}

func (l *lines) text() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return strings.TrimSpace(l.all.String())
}
