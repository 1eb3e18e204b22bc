// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Ready is the condition that a pod is ready and is not being deleted.
func Ready(pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil {
		return errors.New("it is being deleted")
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return Final(fmt.Errorf("it has ended: %s %s", pod.Status.Phase, pod.Status.Message))
	}
	return fmt.Errorf("it is %s and not ready", pod.Status.Phase)
}

// Succeeded is the condition that all containers of a pod have exited with 0.
func Succeeded(pod *corev1.Pod) error {
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return nil
	case corev1.PodFailed:
		return Final(fmt.Errorf("it has failed: %s", pod.Status.Message))
	default:
		return fmt.Errorf("it is %s", pod.Status.Phase)
	}
}

// Running returns the condition that a container runs. It may be an init container.
func Running(container string) func(*corev1.Pod) error { return Restarted(container, 0) }

// Restarted returns the condition that a container runs and was restarted at least this
// many times. It may be an init container.
func Restarted(container string, times int32) func(*corev1.Pod) error {
	return func(pod *corev1.Pod) error {
		status := Container(pod, container)
		if status == nil || status.RestartCount < times || status.State.Running == nil {
			return fmt.Errorf("container %s is %+v", container, status)
		}
		return nil
	}
}

// Container returns the status of a pod's container or init container, or nil.
func Container(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses)
	i := slices.IndexFunc(all, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// Available is the condition that a Deployment's pods are all of its present template,
// and ready.
func Available(d *appsv1.Deployment) error {
	replicas := int32(1)
	if d.Spec.Replicas != nil {
		replicas = *d.Spec.Replicas
	}
	s := d.Status
	if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != replicas || s.ReadyReplicas != replicas || s.Replicas != replicas {
		return fmt.Errorf("of %d pods %d are new and %d ready; all in all there are %d", replicas, s.UpdatedReplicas, s.ReadyReplicas, s.Replicas)
	}
	return nil
}

// Complete is the condition that a Job has succeeded.
func Complete(job *batchv1.Job) error {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		if c.Type == batchv1.JobComplete {
			return nil
		}
		if c.Type == batchv1.JobFailed {
			return Final(fmt.Errorf("it has failed: %s %s", c.Reason, c.Message))
		}
	}
	return fmt.Errorf("it is not complete: %d active, %d failed", job.Status.Active, job.Status.Failed)
}
