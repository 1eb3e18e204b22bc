// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	stdlog "log"
	"log/slog"
	"os/signal"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/webhook/serve"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	serve.Config
	managed             serve.Managed
	manageCertificates  bool
	kubeconfig          string
	logFormat, logLevel string
}

// serveCommand returns the command that serves admission. version is the webhook's. It
// logs to errOut and writes nothing to out.
func serveCommand(version string, out, errOut io.Writer) *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer a cluster's API server",
		Long: "serve is an admission webhook for pods that are created: POST " + serve.Path + ", by TLS.\n\n" +
			"SIGTERM and SIGINT end it when what was asked before is answered; a second one ends it at once.",
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := options.ParseLog(f.logFormat, f.logLevel)
			if err != nil {
				return err
			}
			log := parsed.Logger(errOut)
			if err := f.check(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			context.AfterFunc(ctx, stop) // so that the second signal ends the process
			return f.run(ctx, log)
		},
	}
	cmd.SetOut(out)
	f.Version = version
	f.add(cmd)
	return cmd
}

func (f *serveFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	addImageFlags(flags, &f.Images)
	flags.StringVar(&f.ConfigFile, "config", "", "`file` with the operator's InjectionConfig, read again when it changes; required")
	flags.StringVar(&f.ListenAddress, "listen-address", ":9443", "`address` that the API server reaches")
	flags.StringVar(&f.HealthAddress, "health-address", ":8081", "`address` of /livez, /readyz and /metrics")
	flags.StringVar(&f.MetricsAddress, "metrics-address", "", "one more `address` with the same; none by default")
	flags.StringVar(&f.CertDir, "cert-dir", "/certs", "`folder` with tls.crt and tls.key, read again when they change")
	flags.DurationVar(&f.ShutdownDelay, "shutdown-delay", 5*time.Second, "how `long` requests are still accepted after SIGTERM, until the cluster sends no more")
	flags.BoolVar(&f.manageCertificates, "manage-certificates", false, "issue and rotate the certificate, and tell the API server its CA")
	flags.StringVar(&f.managed.Service, "service-name", "", "with --manage-certificates: `name` of the webhook's Service")
	flags.StringVar(&f.managed.Namespace, "namespace", "", "with --manage-certificates: the webhook's own `namespace`")
	flags.StringVar(&f.managed.Webhook, "webhook-name", "", "with --manage-certificates: `name` of the MutatingWebhookConfiguration")
	flags.StringVar(&f.managed.Secret, "secret-name", "", "with --manage-certificates: `name` of the Secret, mounted at --cert-dir")
	addKubeconfig(flags, &f.kubeconfig)
	flags.StringVar(&f.logFormat, "log-format", "text", "`format` of the log on standard error: text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
}

// check refuses bad flags before any file is read.
func (f *serveFlags) check() error {
	if f.ConfigFile == "" {
		return &flagset.UsageError{Flag: "--config", Problem: "is missing: without the operator's file any pod might name its own proxy-server"}
	}
	if f.ShutdownDelay < 0 || f.ShutdownDelay > 5*time.Minute {
		return &flagset.UsageError{Flag: "--shutdown-delay", Value: f.ShutdownDelay.String(), Problem: "is not between 0s and 5m"}
	}
	for _, given := range []struct{ flag, value string }{
		{"--service-name", f.managed.Service},
		{"--namespace", f.managed.Namespace},
		{"--webhook-name", f.managed.Webhook},
		{"--secret-name", f.managed.Secret},
	} {
		switch {
		case f.manageCertificates && given.value == "":
			return &flagset.UsageError{Flag: given.flag, Problem: "is missing: --manage-certificates needs it"}
		case !f.manageCertificates && given.value != "":
			return &flagset.UsageError{Flag: given.flag, Value: given.value, Problem: "means nothing without --manage-certificates: set that, or leave this out"}
		}
	}
	return nil
}

func (f *serveFlags) run(ctx context.Context, log *slog.Logger) error {
	// Other libraries' logs get the format of our log.
	crlog.SetLogger(logr.FromSlogHandler(serve.LibraryLog(log.Handler())))
	klog.SetSlogLogger(log)
	stdlog.SetFlags(0)
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())

	f.Logger = log
	if err := serve.Check(f.Config); err != nil {
		return err
	}
	var err error
	if f.Cluster, err = cluster(f.kubeconfig, f.Version); err != nil {
		return err
	}
	if f.manageCertificates {
		f.Managed = &f.managed
	}
	return serve.Run(ctx, f.Config)
}
