// SPDX-License-Identifier: Apache-2.0

// Package tlsobject looks at Secrets and ConfigMaps with TLS files that pods mount: whether
// they are there, complete, valid, and fit each other.
//
// It never puts their content into a finding. It does not know which pods are looked at.
package tlsobject

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// Object is a Secret or a ConfigMap with TLS files, and the pods that mount it.
type Object struct {
	Kind, Namespace, Name string
	Keys                  []string
	Pods                  []string // for people
	// Usable is set once its content is as it should be, at most near its end.
	Usable bool
	// data must not get into any finding.
	data map[string][]byte
}

// Mounted returns what pods of a namespace mount as a volume, or nil if that is no Secret
// and no ConfigMap.
func Mounted(namespace string, v corev1.Volume) *Object {
	o := &Object{Namespace: namespace}
	var items []corev1.KeyToPath
	switch {
	case v.Secret != nil:
		o.Kind, o.Name, items = "Secret", v.Secret.SecretName, v.Secret.Items
	case v.ConfigMap != nil:
		o.Kind, o.Name, items = "ConfigMap", v.ConfigMap.Name, v.ConfigMap.Items
	default:
		return nil
	}
	for _, i := range items {
		o.Keys = append(o.Keys, i.Key)
	}
	return o
}

// String returns the kind and the name, for people.
func (o *Object) String() string { return fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name) }

// ID differs for objects that differ, and for different keys of one object.
func (o *Object) ID() string { return strings.Join(append([]string{o.String()}, o.Keys...), " ") }

// Read reads the object. It reports whether the object has all keys, and what is wrong if
// it has not. A denial is no finding.
func (o *Object) Read(ctx context.Context, core corev1client.CoreV1Interface, denials *reading.Denials) (complete bool, wrong *report.Finding) {
	var err error
	resource := "secrets"
	if o.Kind == "Secret" {
		var secret *corev1.Secret
		if secret, err = core.Secrets(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{}); err == nil {
			o.data = secret.Data
		}
	} else {
		resource = "configmaps"
		var cm *corev1.ConfigMap
		if cm, err = core.ConfigMaps(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{}); err == nil {
			o.data = map[string][]byte{}
			for key, value := range cm.Data {
				o.data[key] = []byte(value)
			}
		}
	}
	f := report.Finding{Check: "secret", Group: report.GroupSecrets, Status: report.Failure, Objects: []string{o.String()}}
	if err != nil {
		if denials.Note(reading.To("get", resource, o.Namespace, "the TLS files that pods need"), err); !apierrors.IsNotFound(err) {
			return false, nil
		}
		f.Message = fmt.Sprintf("It does not exist. New pods wait in Init:0/2 for it: %s.", report.NeededBy(o.Pods))
		f.Next, f.Commands = "create it", []string{o.create()}
		return false, &f
	}
	var missing []string
	for _, key := range o.Keys {
		if len(o.data[key]) == 0 {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		f.Message = fmt.Sprintf("It lacks the %s %s. New pods wait in Init:0/2 for it: %s.", report.Plural(len(missing), "key"), strings.Join(missing, ", "), report.NeededBy(o.Pods))
		f.Next = fmt.Sprintf("add the %s", report.Plural(len(missing), "key"))
		f.Commands = []string{o.replace()}
		return false, &f
	}
	return true, nil
}

// create returns the command that makes it.
func (o *Object) create() string {
	kubectl := fmt.Sprintf("kubectl --namespace %s create ", o.Namespace)
	switch {
	case o.Kind == "ConfigMap":
		return kubectl + fmt.Sprintf("configmap %s --from-file=%s", o.Name, o.Keys[0])
	case slices.Contains(o.Keys, corev1.TLSPrivateKeyKey):
		return kubectl + fmt.Sprintf("secret tls %s --cert=tls.crt --key=tls.key", o.Name)
	default:
		return kubectl + fmt.Sprintf("secret generic %s --from-file=%s", o.Name, o.Keys[0])
	}
}

// replace returns the command that replaces its content.
func (o *Object) replace() string {
	return o.create() + " --dry-run=client -o yaml | kubectl apply -f -"
}

// What the files are for, for people.
const (
	ServerCA     = "proxy-server's CA"
	ServerClient = "client certificate"
	ExitCA       = "exit's CA"
	ExitClient   = "client certificate for the exit"
)

// CheckCA looks at a CA, which was read. what is what it is for.
func (o *Object) CheckCA(what string, now time.Time) report.Finding {
	key := o.Keys[0]
	f := report.Finding{Check: "ca", Group: report.GroupSecrets, Objects: []string{o.String()}, Status: report.Failure}
	if err := tlsfiles.CheckCA(o.data[key], now); err != nil {
		problem, remedy := problemOf(err)
		f.Message = fmt.Sprintf("Key %s, the %s, %s. Needed by %s.", key, what, problem, report.NeededBy(o.Pods))
		f.Next, f.Commands = remedy, []string{o.replace()}
		return f
	}
	o.Usable = true
	last := &x509.Certificate{}
	for _, c := range Certificates(o.data[key]) {
		if c.NotAfter.After(last.NotAfter) {
			last = c
		}
	}
	end := last.NotAfter
	f.Status, f.Message = report.OK, fmt.Sprintf("The %s is valid until %s.", what, report.Day(end))
	if tlsfiles.Due(last, now) {
		f.Status, f.Next = report.Warning, "add the next CA to the key before that day, and remove the old one afterwards"
		f.Message = fmt.Sprintf("The %s in key %s expires in %s, on %s.", what, key, report.Days(end.Sub(now)), report.Day(end))
	}
	return f
}

// CheckClient looks at a client certificate and its key, which were read. what is what they
// are for.
func (o *Object) CheckClient(what string, now time.Time) report.Finding {
	certificate, key := o.data[corev1.TLSCertKey], o.data[corev1.TLSPrivateKeyKey]
	f := report.Finding{Check: "client-certificate", Group: report.GroupSecrets, Objects: []string{o.String()}, Status: report.Failure}
	if err := tlsfiles.CheckPair(certificate, key, now); err != nil {
		problem, remedy := problemOf(err)
		which := "Key tls.crt, the " + what + ","
		if p, ok := errors.AsType[*tlsfiles.Problem](err); ok && p.Key {
			which = "Key tls.key"
		}
		if errors.Is(err, tlsfiles.ErrNotAPair) {
			which, problem, remedy = "The certificate in tls.crt and the key in tls.key", "do not belong together", "write both from the same pair"
		}
		f.Message = fmt.Sprintf("%s %s. Needed by %s.", which, problem, report.NeededBy(o.Pods))
		f.Next, f.Commands = remedy, []string{o.replace()}
		return f
	}
	o.Usable = true
	leaf := Certificates(certificate)[0]
	f.Status, f.Message = report.OK, fmt.Sprintf("The %s %q and its key belong together; it is valid until %s.", what, leaf.Subject, report.Day(leaf.NotAfter))
	if tlsfiles.Due(leaf, now) {
		f.Status, f.Next = report.Warning, "have a new one issued, and write it into the Secret; the sidecars read it again"
		f.Message = fmt.Sprintf("The %s %q expires in %s, on %s.", what, leaf.Subject, report.Days(leaf.NotAfter.Sub(now)), report.Day(leaf.NotAfter))
		f.Commands = []string{o.replace()}
	}
	return f
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

// ClientConfig returns the configuration of a client with these files, for a server that
// has a name. It is nil if the files cannot be used.
func ClientConfig(ca, client *Object, serverName string) *tls.Config {
	if ca == nil || client == nil || !ca.Usable || !client.Usable {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.data[ca.Keys[0]])
	pair, err := tls.X509KeyPair(client.data[corev1.TLSCertKey], client.data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: serverName, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
}

// Certificates returns the certificates in PEM that can be read.
func Certificates(data []byte) []*x509.Certificate {
	var all []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, c)
		}
	}
	return all
}
