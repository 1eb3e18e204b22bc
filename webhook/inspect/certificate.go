// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/internal/tlsobject"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

func isMissing(err error) bool { return apierrors.IsNotFound(err) }

// checkServingCertificate looks at the webhook's certificate: its dates and names, and
// whether the API server's caBundle trusts it.
func (in *inspection) checkServingCertificate(ctx context.Context) {
	name := in.servingSecret()
	if name == "" {
		return
	}
	namespace := in.install.namespace
	object := fmt.Sprintf("Secret %s/%s", namespace, name)
	secret, err := in.clients.Core.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !isMissing(err) {
		in.denials.Note(reading.To("get", "secrets", namespace, "the webhook's certificate"), err)
		return
	}
	f := Finding{Check: "serving-certificate", Group: GroupWebhook, Objects: []string{object}, Status: Failure, Commands: in.logs()}
	certificate, key := []byte(nil), []byte(nil)
	if err == nil {
		certificate, key = secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
	}
	switch problem, remedy := in.servingProblem(certificate, key); {
	case err != nil:
		f.Message = "It does not exist, and the webhook has its certificate there."
		f.Next = "install the webhook again with the command that installed it; with cert-manager look at the Certificate"
	case problem != "":
		f.Message, f.Next = problem, remedy
	default:
		leaf := tlsobject.Certificates(certificate)[0]
		f.Status, f.Message, f.Commands = OK, fmt.Sprintf("The webhook's certificate is trusted by the API server, and valid until %s.", report.Day(leaf.NotAfter)), nil
		// The webhook renews it 90 days before its end, and cert-manager after two thirds
		// of its time. So it is never merely due.
		if tlsfiles.StageOf(leaf, in.now) >= tlsfiles.IsUrgent {
			f.Status, f.Next, f.Commands = Warning, "it should have been renewed by now: look at the webhook's log, or at cert-manager's Certificate", in.logs()
		}
	}
	in.add(f)
}

// servingSecret returns the name of the Secret with the webhook's certificate.
func (in *inspection) servingSecret() string {
	if in.install.deployment == nil {
		return ""
	}
	spec := &in.install.deployment.Spec.Template.Spec
	c := container(spec)
	dir := argument(c.Args, "cert-dir")
	for _, m := range c.VolumeMounts {
		if m.MountPath != dir {
			continue
		}
		for _, v := range spec.Volumes {
			if v.Name == m.Name && v.Secret != nil {
				return v.Secret.SecretName
			}
		}
	}
	return ""
}

// servingProblem returns what is wrong with the webhook's certificate, and what to do.
func (in *inspection) servingProblem(certificate, key []byte) (problem, remedy string) {
	const wait = "wait for a minute if the webhook was installed just now; then look at its log"
	chain := tlsobject.Certificates(certificate)
	if len(chain) == 0 {
		return "It has no certificate yet in key tls.crt.", wait
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		return "The certificate in tls.crt and the key in tls.key do not belong together.", "empty both keys: the webhook or cert-manager issues new ones"
	}
	leaf := chain[0]
	switch {
	case in.now.After(leaf.NotAfter):
		return fmt.Sprintf("The webhook's certificate expired on %s: the API server refuses it, and pods with the label.", report.Day(leaf.NotAfter)), "see why it was not renewed, in the webhook's log"
	case in.now.Before(leaf.NotBefore):
		return fmt.Sprintf("The webhook's certificate is not valid before %s.", leaf.NotBefore.UTC().Format(time.RFC3339)), "compare the clocks of this machine and of the webhook's node"
	}
	bundle := in.hook.ClientConfig.CABundle
	if len(bundle) == 0 {
		return "", "" // reported with the registration, or a public CA
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Sprintf("caBundle of %s has no certificate.", in.hook.object), "empty it: the webhook or cert-manager fills it"
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: in.now}); err != nil {
		return fmt.Sprintf("The webhook's certificate is not signed by the CA in caBundle of %s (issuer %q): the API server does not trust the webhook, and refuses pods with the label.", in.hook.object, leaf.Issuer.CommonName),
			"see in the webhook's log why it could not write caBundle; with cert-manager look at its cainjector"
	}
	if host := in.servingHost(); host != "" && leaf.VerifyHostname(host) != nil {
		return fmt.Sprintf("The webhook's certificate is not for %s, the name that the API server asks for, but for %v.", host, leaf.DNSNames), "have a certificate issued with that name"
	}
	return "", ""
}

// servingHost returns the name under which the API server knows the webhook.
func (in *inspection) servingHost() string {
	if s := in.hook.ClientConfig.Service; s != nil {
		return s.Name + "." + s.Namespace + ".svc"
	}
	return ""
}
