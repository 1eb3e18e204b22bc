// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// job returns a Job with one attempt.
func (n *neighbourhood) job(o order, script string) batchv1.JobSpec {
	template := n.template(o, script)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return batchv1.JobSpec{BackoffLimit: new(int32(0)), Template: template}
}

func (n *neighbourhood) makeJob(t *testing.T, name string, spec batchv1.JobSpec) {
	t.Helper()
	_, err := n.Seed.Client.BatchV1().Jobs(n.namespace).Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// wantCompleted fails the test unless the pod has completed, its sidecar included, and the
// shoot has answered it.
func (n *neighbourhood) wantCompleted(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	wantInjected(t, pod)
	for _, name := range []string{app, proxyClient} {
		if ended := clustertest.Container(pod, name).State.Terminated; ended == nil || ended.ExitCode != 0 {
			t.Errorf("container %s has ended with %+v", name, ended)
		}
	}
	if log := n.Seed.Logs(t, pod, app); !strings.Contains(log, "hello from the shoot") {
		t.Errorf("the app has written %q", log)
	}
}

func TestJobCompletes(t *testing.T) {
	t.Parallel()
	n := newNeighbourhood(t)
	t.Run("well", func(t *testing.T) {
		t.Parallel()
		n.makeJob(t, "well", n.job(native, asksOnce))
		n.Seed.AwaitJob(t, n.namespace, "well", clustertest.Complete)
		n.wantCompleted(t, n.Seed.AwaitOnePod(t, n.namespace, "job-name=well", clustertest.Succeeded))
	})
	t.Run("as a failure", func(t *testing.T) {
		t.Parallel()
		n.makeJob(t, "failing", n.job(native, "exit 3"))
		n.Seed.AwaitJob(t, n.namespace, "failing", func(job *batchv1.Job) error {
			if job.Status.Failed == 1 && job.Status.Active == 0 {
				return nil
			}
			return clustertest.Complete(job)
		})
	})
	t.Run("although its sidecar is killed", func(t *testing.T) {
		t.Parallel()
		const asksTwice = ask + `ask first; until [ -e /tmp/go ]; do usleep 100000; done; until ask then; do usleep 100000; done`
		n.makeJob(t, "killed", n.job(native, asksTwice))
		pod := n.Seed.AwaitOnePod(t, n.namespace, "job-name=killed", clustertest.Ready)
		n.Seed.KillContainer(t, pod, proxyClient)
		n.Seed.AwaitPod(t, n.namespace, pod.Name, clustertest.Restarted(proxyClient, 1))
		n.Seed.Exec(t, pod, app, "touch", "/tmp/go")
		n.Seed.AwaitJob(t, n.namespace, "killed", clustertest.Complete)
		n.wantCompleted(t, n.Seed.AwaitPod(t, n.namespace, pod.Name, clustertest.Succeeded))
	})
	// Such a pod would run for ever. It is therefore not made, and the Job's events say
	// why.
	t.Run("not at all in the classic order", func(t *testing.T) {
		t.Parallel()
		n.makeJob(t, "classic", n.job(classic, asksOnce))
		n.Seed.AwaitEvent(t, n.namespace, "classic", func(e *corev1.Event) bool {
			return e.Reason == "FailedCreate" && strings.Contains(e.Message, "never would with proxy-client beside it")
		})
	})
}

func TestCronJobCompletes(t *testing.T) {
	t.Parallel()
	n := newNeighbourhood(t)
	cron := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "each-minute"},
		Spec:       batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: n.job(native, asksOnce)}},
	}
	cron.Spec.JobTemplate.Spec.Template.Labels = labels("cron")
	if _, err := n.Seed.Client.BatchV1().CronJobs(n.namespace).Create(t.Context(), cron, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.wantCompleted(t, n.Seed.AwaitOnePod(t, n.namespace, "app=cron", clustertest.Succeeded))
}
