// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/check/target"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/installation"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
	"github.com/shoot-proxy/proxy-client/webhook/sidecar"
)

// checkFlags are the flags of check.
type checkFlags struct {
	installation.Check
	probe, watch, allPods bool
}

// checkCommand returns the command that looks at the installation, or asks a pod's sidecar.
func checkCommand(to *cluster, version string, env environment) *cobra.Command {
	f := &checkFlags{}
	cmd := &cobra.Command{
		Use:   "check [POD [HOST:PORT…]]",
		Short: "Say what is wrong: with the installation, or on the way from a pod to a target",
		Long: "Without a pod, check looks at the installation as a whole: the webhook, the pods with the label, and what\n" +
			"these need. It changes nothing.\n\n" +
			"With a pod, it runs the sidecar's own check there, which walks the way of a connection step by step: to the\n" +
			"agent, or to each HOST:PORT. POD is a pod's name, or a workload such as deployment/NAME for all of its pods.\n" +
			"Flags behind -- are the sidecar's.\n\n" +
			"Exit code 0 means that all is well, 1 that something does not work, 3 that there are only warnings.",
		Example: "  " + name + " check\n  " + name + " check prometheus-0 10.250.0.4:10250 --namespace monitoring",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Namespaces = to.namespaces
			if err := f.Validate(); err != nil {
				return err
			}
			if len(args) == 0 && !f.allPods {
				return f.installation(cmd, to, version, env)
			}
			return f.pods(cmd, to, args, env)
		},
	}
	flags := cmd.Flags()
	f.AddFlags(flags)
	flags.BoolVar(&f.allPods, "all-pods", false, "ask each sidecar of the namespace; all arguments are then targets")
	flags.BoolVar(&f.probe, "probe", false, "with a pod: try the shoot's kubelets and DNS too, found by the CIDRs")
	flags.BoolVar(&f.watch, "watch", false, "with a pod: check again and again, until Ctrl-C")
	return cmd
}

// installation looks at the installation as a whole.
func (f *checkFlags) installation(cmd *cobra.Command, to *cluster, version string, env environment) error {
	for flag, set := range map[string]bool{"--probe": f.probe, "--watch": f.watch} {
		if set {
			return &flagset.UsageError{Flag: flag, Problem: "is for the sidecar of a pod: name a POD, or set --all-pods"}
		}
	}
	l, err := to.load()
	if err != nil {
		return err
	}
	return f.Run(cmd.Context(), installation.Environment{Cluster: l.config, Program: file, Version: version, Stdout: env.stdout, Stderr: env.stderr})
}

// pods asks the sidecars of one or more pods.
func (f *checkFlags) pods(cmd *cobra.Command, to *cluster, args []string, env environment) error {
	for _, flag := range []string{"bundle", "shoot-kubeconfig"} {
		if cmd.Flags().Changed(flag) {
			return &flagset.UsageError{Flag: "--" + flag, Problem: "is for the installation as a whole: leave the POD out"}
		}
	}
	if err := f.checkTargets(cmd, args); err != nil {
		return err
	}
	ctx := cmd.Context()
	if !f.watch {
		limited, cancel := context.WithTimeoutCause(ctx, f.Timeout(), fmt.Errorf("it took longer than %s: give a longer --timeout", f.Timeout()))
		defer cancel()
		ctx = limited
	}
	access, namespace, err := to.access()
	if err != nil {
		return err
	}
	var pods []corev1.Pod
	targets := args
	if f.allPods {
		pods, err = access.Injected(ctx, namespace)
	} else {
		pods, err = access.Pods(ctx, namespace, args[0])
		targets = args[1:]
	}
	if err != nil {
		return err
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	a := &asker{access: access, to: to, command: f.command(targets), json: f.Output() == "json", env: env}
	if len(pods) == 1 {
		return a.one(ctx, &pods[0])
	}
	if f.watch {
		return &flagset.UsageError{Flag: "--watch", Problem: fmt.Sprintf("is for one pod, and there are %d: name one, such as %s", len(pods), pods[0].Name)}
	}
	return a.several(ctx, pods)
}

// checkTargets refuses what is no target before the cluster is asked. What is behind -- is
// the sidecar's.
func (f *checkFlags) checkTargets(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		args = args[:dash]
	}
	if !f.allPods && len(args) > 0 {
		args = args[1:] // behind the pod
	}
	for _, arg := range args {
		if _, err := target.Parse(arg); err != nil {
			return &flagset.UsageError{Problem: fmt.Sprintf("the target %q %v", arg, err), Err: err}
		}
	}
	return nil
}

// command returns what is run in the sidecar. The targets may have flags among them, which
// were behind --.
func (f *checkFlags) command(targets []string) []string {
	command := []string{"/proxy-client", "check"}
	if f.Output() != "text" {
		command = append(command, "--output="+f.Output())
	}
	if f.probe {
		command = append(command, "--probe")
	}
	if f.watch {
		command = append(command, "--watch")
	}
	return append(command, targets...)
}

// asker asks sidecars.
type asker struct {
	access  *sidecar.Access
	to      *cluster
	command []string
	json    bool
	env     environment
}

// one asks the sidecar of a pod, and passes on its output and its exit code.
func (a *asker) one(ctx context.Context, pod *corev1.Pod) error {
	code, err := a.ask(ctx, pod, a.env.stdout, a.env.stderr)
	if err != nil {
		return err
	}
	return program.Exit(code)
}

// ask runs the check in a pod's sidecar.
func (a *asker) ask(ctx context.Context, pod *corev1.Pod, stdout, stderr io.Writer) (code int, err error) {
	if err := canRun(ctx, a.access, a.to, pod); err != nil {
		return 0, err
	}
	var said bytes.Buffer // on standard error, which is one sentence at most
	code, err = a.access.Exec(ctx, pod, sidecar.ProxyClient, a.command, stdout, &said)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, fmt.Errorf("the check in pod %q did not end: %w", pod.Name, context.Cause(ctx))
	case err != nil:
		return 0, err
	case isOlder(code, said.String()):
		return 0, fmt.Errorf("the sidecar of pod %q in namespace %q is older than 'proxy-client check' (image %s): upgrade the webhook and make the pod anew; until then its log and /readyz say what is wrong (docs/install.md, Does it work)",
			pod.Name, pod.Namespace, sidecar.Container(pod, sidecar.ProxyClient).Image)
	}
	_, err = stderr.Write(said.Bytes())
	return code, err
}

// isOlder reports whether a sidecar is older than its command check. said is what it wrote on
// standard error.
func isOlder(code int, said string) bool {
	return code == program.Usage && strings.Contains(said, `"check" is not a command`)
}

// answer is what one of several sidecars said, as JSON.
type answer struct {
	Namespace string          `json:"namespace"`
	Pod       string          `json:"pod"`
	ExitCode  int             `json:"exitCode"`
	Report    json.RawMessage `json:"report,omitempty"`
	// Error says why there is no report.
	Error string `json:"error,omitempty"`
}

// several asks the sidecars of all pods, one after the other. The exit code is that of the
// worst answer.
func (a *asker) several(ctx context.Context, pods []corev1.Pod) error {
	worst := program.Done
	var answers []answer
	for i := range pods {
		pod := &pods[i]
		var stdout, stderr bytes.Buffer
		code, err := a.ask(ctx, pod, &stdout, &stderr)
		if err != nil {
			code = program.Failed
		}
		worst = worse(worst, code)
		if a.json {
			given := answer{Namespace: pod.Namespace, Pod: pod.Name, ExitCode: code}
			switch {
			case err != nil:
				given.Error = err.Error()
			case json.Valid(stdout.Bytes()):
				given.Report = stdout.Bytes()
			default:
				given.Error = strings.TrimSpace(stderr.String())
			}
			answers = append(answers, given)
			continue
		}
		fmt.Fprintf(a.env.stdout, "POD %s/%s\n", pod.Namespace, pod.Name)
		if err != nil {
			report(a.env.stdout, err)
		}
		if _, err := a.env.stdout.Write(append(stdout.Bytes(), stderr.Bytes()...)); err != nil {
			return err
		}
		fmt.Fprintln(a.env.stdout)
		if ctx.Err() != nil {
			break
		}
	}
	if a.json {
		encoder := json.NewEncoder(a.env.stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(answers); err != nil {
			return err
		}
	}
	return program.Exit(worst)
}

// worse returns the exit code of the two that says more: a failure, bad flags, warnings.
func worse(a, b int) int {
	for _, code := range []int{program.Failed, program.Usage} {
		if a == code || b == code {
			return code
		}
	}
	return max(a, b)
}
