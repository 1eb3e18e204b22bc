// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/manifest"
)

// maxInput is how much of manifests is read, so that a wrong file is a sentence and not
// a machine without memory.
const maxInput = 64 << 20

// standardInput is what stands for it in place of a file's name.
const standardInput = "-"

// fileFlags are those of the commands about manifests.
type fileFlags struct {
	filename, config, configMap string
	manifest.Options
}

func (f *fileFlags) addFilename(flags *pflag.FlagSet) {
	flags.StringVarP(&f.filename, "filename", "f", "", "manifest to read, YAML or JSON; - is standard input")
}

// addSources adds what an injection is decided by.
func (f *fileFlags) addSources(flags *pflag.FlagSet, version string) {
	f.Version = version
	flags.StringVar(&f.config, "config", "", "file with the InjectionConfig; without, the pods' annotations have to say everything")
	flags.StringVar(&f.configMap, "configmap", "", "file with the InjectionConfig of the namespace's ConfigMap")
	flags.StringVar(&f.Namespace, "namespace", "", "namespace of the objects; without, what they say, or default")
	flags.StringVar(&f.NativeSidecar, "native-sidecar", "", "auto, true or false: beats the configuration; here auto is true, which needs Kubernetes 1.29 or later")
	addImageFlags(flags, &f.Images, version)
}

func injectCommand(env environment) *cobra.Command {
	return injectionCommand(env, cobra.Command{
		Use:   "inject -f FILE",
		Short: "Inject into the pods of a manifest",
		Long: "inject writes the manifest to standard output, with the labelled pods and pod templates in it\n" +
			"injected, and what it did to standard error. Where it refuses a document it writes nothing:\n\n" +
			"  webhook inject -f prometheus.yaml --config webhook.yaml | kubectl apply -f -",
	}, write)
}

func explainCommand(env environment) *cobra.Command {
	return injectionCommand(env, cobra.Command{
		Use:   "explain -f FILE",
		Short: "Say what inject would do, and why",
		Long:  "explain says of each object in a manifest whether it would be injected, and where each value comes from.",
	}, func(r *manifest.Result, env environment) error { return r.Explain(env.stdout) })
}

// injectionCommand is one that prints what becomes of a manifest that is injected into.
func injectionCommand(env environment, cmd cobra.Command, print func(*manifest.Result, environment) error) *cobra.Command {
	flags := &fileFlags{}
	flags.addFilename(cmd.Flags())
	flags.addSources(cmd.Flags(), commandline.VersionOf(env.version))
	return fileCommand(env, cmd, flags, func(stream []byte) (*manifest.Result, string, error) {
		if err := flags.readSources(env.stdin); err != nil {
			return nil, "", err
		}
		hint := ""
		if flags.Defaults == nil && flags.ConfigMap == nil {
			hint = " (and no --config was given)"
		}
		return manifest.Inject(stream, flags.Options), hint, nil
	}, print)
}

func uninjectCommand(env environment) *cobra.Command {
	flags := &fileFlags{}
	cmd := cobra.Command{
		Use:   "uninject -f FILE",
		Short: "Take out of a manifest what was injected",
		Long:  "uninject writes the manifest to standard output without what inject has added to it.",
	}
	flags.addFilename(cmd.Flags())
	return fileCommand(env, cmd, flags, func(stream []byte) (*manifest.Result, string, error) {
		return manifest.Uninject(stream), "", nil
	}, write)
}

// write writes a manifest, and what was done to it.
func write(r *manifest.Result, env environment) error {
	if err := r.Report(env.stderr); err != nil {
		return fmt.Errorf("write what was done: %w", err)
	}
	if _, err := env.stdout.Write(r.Output); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// fileCommand is one that reads a manifest, processes it and prints the result. What
// process has to add to the sentence about what was refused is its hint.
func fileCommand(env environment, cmd cobra.Command, flags *fileFlags, process func([]byte) (result *manifest.Result, hint string, err error), print func(*manifest.Result, environment) error) *cobra.Command {
	cmd.Args = commandline.NoArguments
	cmd.RunE = func(*cobra.Command, []string) error {
		if flags.filename == "" {
			return &options.UsageError{Flag: "--filename", Problem: "is missing: name a manifest, or - for standard input"}
		}
		stream, err := readFile("--filename", flags.filename, env.stdin)
		if err != nil {
			return err
		}
		result, hint, err := process(stream)
		if err != nil {
			return err
		}
		if err := print(result, env); err != nil {
			return err
		}
		switch n := result.Refused(); {
		case n == 1:
			return fmt.Errorf("one document was refused, see above: nothing is to be applied%s", hint)
		case n > 1:
			return fmt.Errorf("%d documents were refused, see above: nothing is to be applied%s", n, hint)
		}
		return nil
	}
	return &cmd
}

// readSources validates the flags of an injection and reads the files that they name.
func (f *fileFlags) readSources(stdin io.Reader) (err error) {
	switch f.NativeSidecar {
	case "", "auto", "true", "false":
	default:
		return &options.UsageError{Flag: "--native-sidecar", Value: f.NativeSidecar, Problem: "is not known: write auto, true or false"}
	}
	if errs := validation.IsDNS1123Label(f.Namespace); f.Namespace != "" && len(errs) > 0 {
		return &options.UsageError{Flag: "--namespace", Value: f.Namespace, Problem: "is not a namespace's name: write lower case letters, digits and -"}
	}
	if err := checkImages(f.Images); err != nil {
		return err
	}
	if f.Defaults, err = readConfig("--config", f.config, stdin, webhook.ParseConfig); err != nil {
		return err
	}
	f.ConfigMap, err = readConfig("--configmap", f.configMap, stdin, webhook.ParseNamespaceConfig)
	return err
}

// readConfig reads the InjectionConfig that a flag names; nil where it names none.
func readConfig(flag, name string, stdin io.Reader, parse func(string, []byte) (*webhook.Config, error)) (*webhook.Config, error) {
	if name == "" {
		return nil, nil
	}
	if name == standardInput {
		return nil, &options.UsageError{Flag: flag, Value: name, Problem: "cannot be standard input: name a file"}
	}
	data, err := readFile(flag, name, stdin)
	if err != nil {
		return nil, err
	}
	config, err := parse(fmt.Sprintf("%s %q", flag, name), data)
	if err != nil {
		// Whoever has the file may see what is in it.
		return nil, &options.UsageError{Problem: webhook.Detail(err), Err: err}
	}
	return config, nil
}

// readFile reads what a flag names.
func readFile(flag, name string, stdin io.Reader) ([]byte, error) {
	from := stdin
	if name != standardInput {
		file, err := os.Open(name)
		if err != nil {
			return nil, unreadable(flag, name, err)
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err != nil {
		return nil, unreadable(flag, name, err)
	}
	if len(data) > maxInput {
		return nil, &options.UsageError{Flag: flag, Value: name, Problem: fmt.Sprintf("is longer than %d MiB: name another file, or split it", maxInput>>20)}
	}
	return data, nil
}

func unreadable(flag, name string, err error) error {
	reason := err
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		reason = path.Err // its name is said already
	}
	return &options.UsageError{Flag: flag, Value: name, Problem: fmt.Sprintf("cannot be read: %s", reason), Err: err}
}
