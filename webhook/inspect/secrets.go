// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// The volumes of an injected pod with TLS files.
const (
	volumeCA     = "shoot-proxy-ca"
	volumeClient = "shoot-proxy-client-tls"
)

// The containers of an injected pod.
const (
	initRedirect = "init-redirect"
	proxyClient  = "proxy-client"
)

// material is a Secret or a ConfigMap with TLS files, and the pods that mount it. data
// must not get into any finding.
type material struct {
	kind, namespace, name string
	keys                  []string
	pods                  []string
	data                  map[string][]byte
	// usable is set once its content is as it should be, at most near its end.
	usable bool
}

func (m *material) object() string { return fmt.Sprintf("%s %s/%s", m.kind, m.namespace, m.name) }

// usedBy returns a clause with the pods that need it.
func (m *material) usedBy() string {
	return neededBy(m.pods)
}

// neededBy returns a clause with the objects that need something.
func neededBy(objects []string) string {
	if n := len(objects) - 2; n > 1 {
		return fmt.Sprintf("%s, %s and %d more", objects[0], objects[1], n)
	}
	return strings.Join(objects, ", ")
}

// checkSecrets looks at the Secrets and ConfigMaps that injected pods mount.
func (in *inspection) checkSecrets(ctx context.Context) {
	in.materials = map[string]*material{}
	var cas, clients []*material
	for _, s := range in.subjects {
		p := s.spec()
		if p == nil {
			continue
		}
		for _, v := range p.Spec.Volumes {
			switch v.Name {
			case volumeCA:
				if m := in.need(s, v); m != nil && !slices.Contains(cas, m) {
					cas = append(cas, m)
				}
			case volumeClient:
				if m := in.need(s, v); m != nil && !slices.Contains(clients, m) {
					clients = append(clients, m)
				}
			}
		}
	}
	for _, m := range cas {
		if in.read(ctx, m) {
			in.checkCA(m)
		}
	}
	for _, m := range clients {
		if in.read(ctx, m) {
			in.checkClient(m)
		}
	}
}

// need notes that a pod mounts a volume of TLS files.
func (in *inspection) need(s *subject, v corev1.Volume) *material {
	m := in.materialOf(s, v)
	if m != nil {
		m.pods = append(m.pods, s.name)
	}
	return m
}

// materialOf returns what a pod mounts as a volume, or nil.
func (in *inspection) materialOf(s *subject, v corev1.Volume) *material {
	m := &material{namespace: s.namespace}
	var items []corev1.KeyToPath
	switch {
	case v.Secret != nil:
		m.kind, m.name, items = "Secret", v.Secret.SecretName, v.Secret.Items
	case v.ConfigMap != nil:
		m.kind, m.name, items = "ConfigMap", v.ConfigMap.Name, v.ConfigMap.Items
	default:
		return nil
	}
	for _, i := range items {
		m.keys = append(m.keys, i.Key)
	}
	id := strings.Join(append([]string{m.object()}, m.keys...), " ")
	if known, ok := in.materials[id]; ok {
		m = known
	}
	in.materials[id] = m
	return m
}

// read reads a Secret or ConfigMap, and reports whether it has all keys.
func (in *inspection) read(ctx context.Context, m *material) bool {
	var err error
	resource := "secrets"
	if m.kind == "Secret" {
		var secret *corev1.Secret
		if secret, err = in.clients.core.Secrets(m.namespace).Get(ctx, m.name, metav1.GetOptions{}); err == nil {
			m.data = secret.Data
		}
	} else {
		resource = "configmaps"
		var cm *corev1.ConfigMap
		if cm, err = in.clients.core.ConfigMaps(m.namespace).Get(ctx, m.name, metav1.GetOptions{}); err == nil {
			m.data = map[string][]byte{}
			for key, value := range cm.Data {
				m.data[key] = []byte(value)
			}
		}
	}
	f := Finding{Check: "secret", Group: GroupSecrets, Status: Failure, Objects: []string{m.object()}}
	if err != nil {
		if in.denials.Note(reading.To("get", resource, m.namespace, "the TLS files that pods need"), err); !isMissing(err) {
			return false
		}
		f.Message = fmt.Sprintf("It does not exist. New pods wait in Init:0/2 for it: %s.", m.usedBy())
		f.Next, f.Commands = "create it", []string{m.create()}
		in.add(f)
		return false
	}
	var missing []string
	for _, key := range m.keys {
		if len(m.data[key]) == 0 {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		f.Message = fmt.Sprintf("It lacks the %s %s. New pods wait in Init:0/2 for it: %s.", report.Plural(len(missing), "key"), strings.Join(missing, ", "), m.usedBy())
		f.Next = fmt.Sprintf("add the %s", report.Plural(len(missing), "key"))
		f.Commands = []string{m.create() + " --dry-run=client -o yaml | kubectl apply -f -"}
		in.add(f)
		return false
	}
	return true
}

// create returns the command that makes it.
func (m *material) create() string {
	kubectl := fmt.Sprintf("kubectl --namespace %s create ", m.namespace)
	switch {
	case m.kind == "ConfigMap":
		return kubectl + fmt.Sprintf("configmap %s --from-file=%s", m.name, m.keys[0])
	case slices.Contains(m.keys, corev1.TLSPrivateKeyKey):
		return kubectl + fmt.Sprintf("secret tls %s --cert=tls.crt --key=tls.key", m.name)
	default:
		return kubectl + fmt.Sprintf("secret generic %s --from-file=%s", m.name, m.keys[0])
	}
}

// replace returns the command that replaces its content.
func (m *material) replace() string {
	return m.create() + " --dry-run=client -o yaml | kubectl apply -f -"
}

// checkCA looks at the CA of the proxy-server.
func (in *inspection) checkCA(m *material) {
	key := m.keys[0]
	f := Finding{Check: "ca", Group: GroupSecrets, Objects: []string{m.object()}, Status: Failure}
	if err := tlsfiles.CheckCA(m.data[key], in.now); err != nil {
		problem, remedy := problemOf(err)
		f.Message = fmt.Sprintf("Key %s, the proxy-server's CA, %s. Needed by %s.", key, problem, m.usedBy())
		f.Next, f.Commands = remedy, []string{m.replace()}
		in.add(f)
		return
	}
	m.usable = true
	last := &x509.Certificate{}
	for _, c := range parseCertificates(m.data[key]) {
		if c.NotAfter.After(last.NotAfter) {
			last = c
		}
	}
	end := last.NotAfter
	f.Status, f.Message = OK, fmt.Sprintf("The proxy-server's CA is valid until %s.", day(end))
	if tlsfiles.Due(last, in.now) {
		f.Status, f.Next = Warning, "add the next CA to the key before that day, and remove the old one afterwards"
		f.Message = fmt.Sprintf("The proxy-server's CA in key %s expires in %s, on %s.", key, days(end.Sub(in.now)), day(end))
	}
	in.add(f)
}

// checkClient looks at a client certificate and its key.
func (in *inspection) checkClient(m *material) {
	certificate, key := m.data[corev1.TLSCertKey], m.data[corev1.TLSPrivateKeyKey]
	f := Finding{Check: "client-certificate", Group: GroupSecrets, Objects: []string{m.object()}, Status: Failure}
	if err := tlsfiles.CheckPair(certificate, key, in.now); err != nil {
		problem, remedy := problemOf(err)
		which := "Key tls.crt, the client certificate,"
		if p, ok := errors.AsType[*tlsfiles.Problem](err); ok && p.Key {
			which = "Key tls.key"
		}
		if errors.Is(err, tlsfiles.ErrNotAPair) {
			which, problem, remedy = "The certificate in tls.crt and the key in tls.key", "do not belong together", "write both from the same pair"
		}
		f.Message = fmt.Sprintf("%s %s. Needed by %s.", which, problem, m.usedBy())
		f.Next, f.Commands = remedy, []string{m.replace()}
		in.add(f)
		return
	}
	m.usable = true
	leaf := parseCertificates(certificate)[0]
	f.Status, f.Message = OK, fmt.Sprintf("The client certificate %q and its key belong together; it is valid until %s.", leaf.Subject, day(leaf.NotAfter))
	if tlsfiles.Due(leaf, in.now) {
		f.Status, f.Next = Warning, "have a new one issued, and write it into the Secret; the sidecars read it again"
		f.Message = fmt.Sprintf("The client certificate %q expires in %s, on %s.", leaf.Subject, days(leaf.NotAfter.Sub(in.now)), day(leaf.NotAfter))
		f.Commands = []string{m.replace()}
	}
	in.add(f)
}

// problemOf returns what is wrong with a file, and what to do.
func problemOf(err error) (problem, remedy string) {
	text := err.Error()
	if p, ok := errors.AsType[*tlsfiles.Problem](err); ok {
		text = p.Sentence
	}
	problem, remedy, ok := strings.Cut(text, ": ")
	if !ok {
		return text, "write it again"
	}
	return problem, remedy
}

// days returns a time span in days.
func days(d time.Duration) string {
	n := int(d / (24 * time.Hour))
	return fmt.Sprintf("%d %s", n, report.Plural(n, "day"))
}
