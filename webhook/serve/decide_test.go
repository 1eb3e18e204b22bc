// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/source"
)

const secretive = "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\nshoot: {podCIDRs: [secret.example/12]}\n"

// A pod that asks for the shoot never passes because something could not be read.
func TestRefusals(t *testing.T) {
	_, unreadable := webhook.ParseNamespaceConfig(`ConfigMap "shoot-proxy"`, []byte(secretive))
	if unreadable == nil {
		t.Fatal("the ConfigMap is good")
	}
	for _, tt := range []struct {
		name    string
		config  string
		pod     func(*corev1.Pod)
		sources func(*fakeSources)
		code    int32
		reason  string
		says    string
		logs    string
	}{
		{
			name: "namespace not readable",
			sources: func(f *fakeSources) {
				f.namespace = func(string) (webhook.Namespace, error) { return webhook.Namespace{}, errors.New("dial tcp: refused") }
			},
			code: 503, reason: "unavailable", says: `namespace "shop" could not be read`, logs: "dial tcp: refused",
		},
		{
			name: "ConfigMap not readable",
			sources: func(f *fakeSources) {
				f.configMap = func(string, string) (*webhook.Config, error) { return nil, errors.New("forbidden for role x") }
			},
			code: 503, reason: "unavailable", says: `ConfigMap "shoot-proxy" of namespace "shop" could not be read`, logs: "forbidden for role x",
		},
		{
			name: "ConfigMap not usable",
			sources: func(f *fakeSources) {
				f.configMap = func(string, string) (*webhook.Config, error) {
					return nil, &source.UnusableError{Sentence: unreadable.Error(), Detail: webhook.Detail(unreadable)}
				}
			},
			code: 403, reason: "bad_config", says: `ConfigMap "shoot-proxy" cannot be used`, logs: "secret.example/12",
		},
		{
			name: "ConfigMap missing", config: operatorsFile + "policy: {configMaps: [shoot-proxy, team-a]}\n",
			pod:  func(p *corev1.Pod) { p.Annotations = map[string]string{"shoot-proxy.io/config": "team-a"} },
			code: 403, reason: "config_missing", says: `annotation shoot-proxy.io/config "team-a": there is no such ConfigMap in namespace "shop"`,
		},
		{
			name:    "ConfigMap not allowed",
			pod:     func(p *corev1.Pod) { p.Annotations = map[string]string{"shoot-proxy.io/config": "team-a"} },
			sources: func(f *fakeSources) { *f = fakeSources{t: f.t} },
			code:    403, reason: "config_not_allowed", says: "the operator allows only shoot-proxy",
		},
		{
			name: "Cluster not readable", config: operatorsFile + "policy: {gardener: true}\n",
			sources: func(f *fakeSources) {
				f.networking = func(string) (*webhook.Networking, error) { return nil, errors.New("timed out") }
			},
			code: 503, reason: "unavailable", says: `Gardener's Cluster "shop" could not be read`, logs: "timed out",
		},
		{
			name: "Cluster not usable", config: operatorsFile + "policy: {gardener: true}\n",
			sources: func(f *fakeSources) {
				f.networking = func(name string) (*webhook.Networking, error) {
					return source.Networking(name, []byte(`{"spec":{"shoot":[]}}`))
				}
			},
			code: 403, reason: "bad_config", says: `Gardener's Cluster "shop" cannot be used`, logs: "array",
		},
		{
			name: "locked annotation",
			pod:  func(p *corev1.Pod) { p.Annotations = map[string]string{"shoot-proxy.io/proxy-server": "elsewhere:1"} },
			code: 403, reason: "locked", says: "is locked by the operator",
		},
		{
			name: "host network", pod: func(p *corev1.Pod) { p.Spec.HostNetwork = true },
			code: 403, reason: "host_network", says: "hostNetwork",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sources, pod, text := plainSources(t), labelled(), tt.config
			if tt.sources != nil {
				tt.sources(sources)
			}
			if tt.pod != nil {
				tt.pod(pod)
			}
			if text == "" {
				text = operatorsFile
			}
			r := newTestHandler(t, sources, config(t, text))
			got := r.admit(creation(t, pod))
			if got.Allowed || got.Patch != nil || got.Result.Code != tt.code || !strings.Contains(got.Result.Message, tt.says) {
				t.Errorf("allowed %t, code %d, %q; want a refusal with code %d and %q", got.Allowed, got.Result.Code, got.Result.Message, tt.code, tt.says)
			}
			if got.AuditAnnotations["decision"] != "refuse" || got.AuditAnnotations["reason"] != tt.reason || r.count("refuse", tt.reason) != 1 {
				t.Errorf("want refuse, %s in audit annotations and metrics: %v", tt.reason, got.AuditAnnotations)
			}
			lines := r.log.Lines(t, "decided")
			if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["reason"] != tt.reason || !strings.Contains(lines[0]["message"].(string), tt.logs) {
				t.Errorf("the log should have one line with %q:\n%s", tt.logs, r.log)
			}
			if tt.logs != "" && strings.Contains(got.Result.Message, tt.logs) {
				t.Errorf("the client hears what is the operator's: %s", got.Result.Message)
			}
		})
	}
}

func TestInjection(t *testing.T) {
	sources := plainSources(t)
	sources.namespace = func(name string) (webhook.Namespace, error) {
		return webhook.Namespace{Name: name, PodSecurity: "restricted"}, nil
	}
	sources.configMap = func(namespace, name string) (*webhook.Config, error) {
		if namespace != "shop" || name != "shoot-proxy" {
			t.Errorf("asked for ConfigMap %s/%s", namespace, name)
		}
		return nil, nil
	}
	sources.networking = func(namespace string) (*webhook.Networking, error) {
		return &webhook.Networking{Source: "Cluster " + namespace, PodCIDRs: []string{"100.96.0.0/11"}}, nil
	}
	r := newTestHandler(t, sources, config(t, operatorsFile+"policy: {gardener: true}\n"))
	request := creation(t, labelled())
	dry := request.DeepCopy()
	dry.DryRun = new(true)

	got := r.admit(request)
	if !got.Allowed || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "restricted") {
		t.Fatalf("allowed %t, warnings %q", got.Allowed, got.Warnings)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(patched(t, request, got), pod); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"init-redirect", "proxy-client", "web"}, names); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	if args := strings.Join(pod.Spec.InitContainers[0].Args, " "); !strings.Contains(args, "100.96.0.0/11") {
		t.Errorf("init-redirect does not have Gardener's CIDRs: %s", args)
	}
	if got.AuditAnnotations["decision"] != "inject" || got.AuditAnnotations["reason"] != "injected" || got.AuditAnnotations["config-hash"] == "" {
		t.Errorf("audit annotations %v", got.AuditAnnotations)
	}
	if diff := cmp.Diff(got, r.admit(dry)); diff != "" {
		t.Errorf("a dry run is answered differently (-real +dry):\n%s", diff)
	}
	lines := r.log.Lines(t, "decided")
	if len(lines) != 2 || lines[0]["level"] != "INFO" || lines[0]["pod"] != "web-*" || lines[0]["hash"] != got.AuditAnnotations["config-hash"] || lines[1]["dry_run"] != true {
		t.Errorf("the log should have a line for each:\n%s", r.log)
	}
	if r.count("inject", "injected") != 2 {
		t.Error("not counted")
	}

	// Called once more, as kube-apiserver does when another webhook has changed the
	// pod.
	again := creation(t, pod)
	second := r.admit(again)
	if !second.Allowed || second.Patch != nil || len(second.AuditAnnotations) != 1 || second.AuditAnnotations["config-hash"] != got.AuditAnnotations["config-hash"] {
		t.Errorf("injected twice: %+v", second)
	}
}

// A pod that asks for nothing is not examined, and makes no log line.
func TestOthersPodsCostNothing(t *testing.T) {
	for reason, value := range map[string]string{"no_label": "", "disabled": "false"} {
		t.Run(reason, func(t *testing.T) {
			pod := labelled()
			if pod.Labels[webhook.Label] = value; value == "" {
				pod.Labels = nil
			}
			r := newTestHandler(t, &fakeSources{t: t}, config(t, operatorsFile))
			got := r.admit(creation(t, pod))
			if !got.Allowed || got.Patch != nil || got.AuditAnnotations["reason"] != reason || r.count("skip", reason) != 1 {
				t.Errorf("%+v", got)
			}
			if lines := r.log.Lines(t, "decided"); len(lines) != 1 || lines[0]["level"] != "DEBUG" {
				t.Errorf("want a line at level debug:\n%s", r.log)
			}
		})
	}
}

// A labelled pod that the namespace's ConfigMap leaves alone passes unchanged. The decision
// is in the warning, the audit annotations, the metric and the log. Sources that are not
// needed are not asked, so that a failure of theirs does not refuse the pod.
func TestDisabledNamespace(t *testing.T) {
	sources := &fakeSources{t: t, configMap: func(_, name string) (*webhook.Config, error) {
		return webhook.ParseNamespaceConfig(fmt.Sprintf("ConfigMap %q", name), []byte("apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\ninject: disabled\n"))
	}}
	r := newTestHandler(t, sources, config(t, operatorsFile+"policy: {gardener: true}\n"))
	got := r.admit(creation(t, labelled()))
	if !got.Allowed || got.Patch != nil {
		t.Errorf("%+v", got)
	}
	if len(got.Warnings) != 1 || !strings.HasPrefix(got.Warnings[0], `not injected: ConfigMap "shoot-proxy" says inject: disabled`) {
		t.Errorf("warnings %q", got.Warnings)
	}
	if got.AuditAnnotations["decision"] != "skip" || got.AuditAnnotations["reason"] != "config_disabled" || r.count("skip", "config_disabled") != 1 {
		t.Errorf("audit annotations %v, or not counted", got.AuditAnnotations)
	}
	if lines := r.log.Lines(t, "decided"); len(lines) != 1 || lines[0]["level"] != "INFO" || lines[0]["reason"] != "config_disabled" {
		t.Errorf("want a line at level info:\n%s", r.log)
	}
}

// A newer API server's pods have fields that we do not know. They stay unchanged.
func TestUnknownFieldsSurvive(t *testing.T) {
	for _, native := range []string{"true", "false"} {
		t.Run("native "+native, func(t *testing.T) {
			pod := labelled()
			pod.Annotations = map[string]string{"shoot-proxy.io/native-sidecar": native}
			pod.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: "registry.example/prepare"}}
			pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
			request := creation(t, pod)
			raw := string(request.Object.Raw)
			for _, name := range []string{"web", "prepare", "data"} {
				raw = strings.Replace(raw, `"name":"`+name+`"`, `"name":"`+name+`","fromTheFuture":"`+name+`"`, 1)
			}
			request.Object.Raw = []byte(raw)
			r := newTestHandler(t, plainSources(t), config(t, operatorsFile))
			var got struct {
				Spec struct {
					InitContainers, Containers, Volumes []struct{ Name, FromTheFuture string }
				}
			}
			if err := json.Unmarshal(patched(t, request, r.admit(request)), &got); err != nil {
				t.Fatal(err)
			}
			found := 0
			for _, list := range [][]struct{ Name, FromTheFuture string }{got.Spec.InitContainers, got.Spec.Containers, got.Spec.Volumes} {
				for _, e := range list {
					switch e.Name {
					case "web", "prepare", "data":
						found++
						if e.FromTheFuture != e.Name {
							t.Errorf("%q has lost its field, and has %q", e.Name, e.FromTheFuture)
						}
					default:
						if e.FromTheFuture != "" {
							t.Errorf("%q has the field of %q", e.Name, e.FromTheFuture)
						}
					}
				}
			}
			if found != 3 {
				t.Errorf("found %d of 3", found)
			}
		})
	}
}

// After the end has begun, connections close after their next answer. So no connection
// closes while a request is on its way.
func TestDrainingEndsConnections(t *testing.T) {
	r := newTestHandler(t, plainSources(t), config(t, operatorsFile))
	draining := false
	r.handler.(*handler).Draining = func() bool { return draining }
	body := review(t, creation(t, labelled()))
	for _, draining = range []bool{false, true} {
		recorder := r.post(body)
		if got := recorder.Header().Get("Connection") == "close"; got != draining || recorder.Code != http.StatusOK {
			t.Errorf("draining %t: status %d, Connection: %q", draining, recorder.Code, recorder.Header().Get("Connection"))
		}
	}
}
