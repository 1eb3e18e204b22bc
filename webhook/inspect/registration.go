// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/shoot-proxy/proxy-client/webhook/dryrun"
	"github.com/shoot-proxy/proxy-client/webhook/internal/netpolicy"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// registration is the entry of the webhook in a MutatingWebhookConfiguration.
type registration struct {
	object string // "MutatingWebhookConfiguration proxy-client-webhook"
	name   string // of the object
	made   metav1.Time
	admissionv1.MutatingWebhook
}

// checkRegistration finds the webhook's MutatingWebhookConfiguration, and looks at what
// decides whether the API server asks the webhook.
func (in *inspection) checkRegistration(ctx context.Context) {
	var found []*registration
	read := reading.Pages(ctx, &in.denials, reading.To("list", "mutatingwebhookconfigurations", "", "the webhook's registration"), metav1.ListOptions{},
		in.clients.Admission.MutatingWebhookConfigurations().List,
		func(page *admissionv1.MutatingWebhookConfigurationList) {
			for _, c := range page.Items {
				for _, w := range c.Webhooks {
					if w.Name == dryrun.HookName {
						found = append(found, &registration{"MutatingWebhookConfiguration " + c.Name, c.Name, c.CreationTimestamp, w})
					}
				}
			}
		})
	switch {
	case !read:
		return
	case len(found) == 0:
		in.add(Finding{
			Check: "registration", Group: GroupWebhook, Status: Failure,
			Message: fmt.Sprintf("No MutatingWebhookConfiguration has the webhook %s, so the API server asks it about no pod: new pods with the label start without their redirect.", dryrun.HookName),
			Next:    "install the webhook, or install it again: the same command restores the registration",
			Commands: []string{
				"helm upgrade --install proxy-client ./proxy-client-*.tgz --namespace shoot-proxy --create-namespace --values values.yaml",
			},
		})
		return
	case len(found) > 1:
		var names []string
		for _, r := range found {
			names = append(names, r.object)
		}
		in.add(Finding{
			Check: "registration", Group: GroupWebhook, Status: Warning, Objects: names,
			Message: fmt.Sprintf("These register %s at the same time, so a pod is injected by the last one that is called.", dryrun.HookName),
			Next:    "uninstall all releases but one", Commands: []string{"helm list --all-namespaces --filter proxy-client"},
		})
	}
	in.hook = found[0]
	problems := in.hook.problems()
	in.add(problems...)
	if len(problems) == 0 && len(found) == 1 {
		in.add(Finding{
			Check: "registration", Group: GroupWebhook, Status: OK, Objects: []string{in.hook.object},
			Message: "The API server asks the webhook about new pods with the label, and refuses them if it cannot." + in.leftOut(),
		})
	}
}

// problems returns what makes the API server ask about fewer pods than it should.
func (r *registration) problems() []Finding {
	var all []Finding
	add := func(check string, status Status, message, next string, commands ...string) {
		all = append(all, Finding{
			Check: check, Group: GroupWebhook, Status: status, Objects: []string{r.object}, Message: message, Next: next, Commands: commands,
		})
	}
	again := "install the chart again: helm upgrade restores the registration"
	if r.FailurePolicy != nil && *r.FailurePolicy == admissionv1.Ignore {
		add("failure-policy", Warning, "failurePolicy is Ignore: while the webhook is away, pods with the label start without their redirect, and send the shoot's traffic into the seed's network.",
			"set it to Fail", fmt.Sprintf(`kubectl patch mutatingwebhookconfiguration %s --type=json --patch='[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"}]'`, r.name))
	}
	if !netpolicy.Selects(r.ObjectSelector, labels.Set{"shoot-proxy.io/inject": "true"}) {
		add("object-selector", Failure, fmt.Sprintf("objectSelector %s leaves out pods with the label shoot-proxy.io/inject=true, so the API server asks about none of them.", metav1.FormatLabelSelector(r.ObjectSelector)), again)
	}
	if !r.createsPods() {
		add("rules", Failure, "No rule is for the creation of pods, so the API server asks the webhook about none of them.", again)
	}
	if len(r.ClientConfig.CABundle) == 0 && r.ClientConfig.Service != nil {
		add("ca-bundle", Failure, "caBundle is empty, so the API server cannot trust the webhook's certificate.",
			"wait for a minute if the webhook was installed just now; then look at its log", "kubectl --namespace "+r.ClientConfig.Service.Namespace+" logs --selector=app.kubernetes.io/component=webhook --tail=20")
	}
	return all
}

func (r *registration) createsPods() bool {
	for _, rule := range r.Rules {
		if has(rule.Resources, "pods") && has(rule.APIGroups, "") && has(rule.Operations, admissionv1.Create) {
			return true
		}
	}
	return false
}

// has reports whether a list of a rule has a value, or all values.
func has[T ~string](list []T, value T) bool {
	for _, v := range list {
		if v == value || v == "*" || v == "*/*" {
			return true
		}
	}
	return false
}

// asksIn reports whether the API server asks the webhook about pods of a namespace.
func (in *inspection) asksIn(namespace string) bool {
	if in.hook == nil {
		return false
	}
	set := labels.Set{corev1.LabelMetadataName: namespace}
	if ns := in.namespaceOf(namespace); ns != nil {
		set = ns.Labels
	}
	return netpolicy.Selects(in.hook.NamespaceSelector, set)
}

// leftOut returns a sentence with the namespaces that the registration leaves out.
func (in *inspection) leftOut() string {
	var names []string
	for name := range in.namespaces {
		if !in.asksIn(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " It leaves out the namespaces " + strings.Join(unique(names), ", ") + "."
}

// checkDryRun asks the API server for a labelled pod.
func (in *inspection) checkDryRun(ctx context.Context) {
	if in.hook == nil {
		return // the API server asks nobody, which is reported
	}
	namespace := in.namespaceForDryRun()
	answer, err := dryrun.Ask(ctx, dryrun.Config{Cluster: in.Cluster, Namespace: namespace, Image: in.Image, AllowRefusal: true, Timeout: dryRunTimeout})
	if err != nil {
		answer = dryrun.Answer{Outcome: dryrun.Undecided, Message: err.Error()}
	}
	f := Finding{Check: "dry-run", Group: GroupWebhook, Message: report.Sentence(answer.Message)}
	switch answer.Outcome {
	case dryrun.Injected:
		in.calibrate(ctx, namespace, answer.Pod)
		f.Status, f.Message = OK, fmt.Sprintf("The API server reaches the webhook: a dry run of a labelled pod in namespace %s is injected.", namespace)
	case dryrun.LeftAlone, dryrun.Refused:
		f.Status = OK
	case dryrun.NoRight:
		in.denials.Deny(reading.To("create", "pods", namespace, "whether the API server reaches the webhook (a dry run)"))
		return
	case dryrun.NotAsked:
		if in.report.Has(Failure, "object-selector", "rules") {
			return
		}
		f.Status, f.Next = Failure, "look at the selectors and rules of "+in.hook.object
		f.Commands = []string{"kubectl get mutatingwebhookconfiguration " + in.hook.name + " -o yaml"}
	case dryrun.Unreachable:
		if in.report.Has(Failure, "ca-bundle", "serving-certificate", "deployment", "service", "endpoints") {
			f.Status, f.Message = Skipped, "The API server cannot ask the webhook, for the reason above: "+report.Sentence(answer.Message)
			break
		}
		f.Status, f.Next = Failure, "see whether the API server's host can reach the Service's pods: a firewall or a NetworkPolicy may be in between"
		f.Commands = in.logs()
	case dryrun.Undecided:
		if strings.Contains(answer.Message, initRedirect) {
			f.Status = OK // what refuses the pod has seen what the webhook added
			break
		}
		f.Status, f.Next = Skipped, "name another namespace with --namespace: the dry run is in the first one"
	}
	in.add(f)
}

// namespaceForDryRun returns a namespace about which the API server asks the webhook, and
// which does not forbid injected pods.
func (in *inspection) namespaceForDryRun() string {
	candidates := append(slices.Clone(in.Namespaces), metav1.NamespaceDefault)
	for _, p := range in.pods {
		candidates = append(candidates, p.Namespace)
	}
	for _, w := range in.workloads {
		candidates = append(candidates, w.Namespace)
	}
	for _, name := range candidates {
		if ns := in.namespaceOf(name); in.asksIn(name) && (ns == nil || !forbidsNetAdmin(ns)) {
			return name
		}
	}
	return metav1.NamespaceDefault
}
