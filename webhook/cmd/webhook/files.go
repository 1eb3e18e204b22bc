// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/installation"
	"github.com/shoot-proxy/proxy-client/webhook/manifest"
)

// fileFlags are the flags of the commands for manifests.
type fileFlags struct {
	inputs
	config, configMap string
	manifest.Options
}

func (f *fileFlags) addFilename(flags *pflag.FlagSet) {
	flags.VarP(flagset.ListValue(&f.filenames), "filename", "f", "`manifests` to read, YAML or JSON, or folders of them; - is standard input; comma-separated or repeated")
	flags.BoolVarP(&f.recursive, "recursive", "R", false, "look into the folders in a folder too")
}

// addSources adds the flags of an injection's settings.
func (f *fileFlags) addSources(flags *pflag.FlagSet, version string) {
	f.Version = version
	flags.Var(flagset.FilledValue(&f.config), "config", "file with the InjectionConfig; without, the pods' annotations have to say everything")
	flags.Var(flagset.FilledValue(&f.configMap), "configmap", "file with the namespace's ConfigMap, or with the InjectionConfig in it")
	flags.Var(flagset.FilledValue(&f.Namespace), "namespace", "namespace of the objects; without, what they say, or default")
	flags.Var(flagset.FilledValue(&f.NativeSidecar), "native-sidecar", "auto, true or false: beats the configuration; here auto is true, which needs Kubernetes 1.29 or later")
	flags.BoolVar(&f.Strict, "strict", false, "refuse documents with the label where inject does nothing about it")
	addImageFlags(flags, &f.Images)
}

func injectCommand(env environment) *cobra.Command {
	return injectionCommand(env, cobra.Command{
		Use:   "inject -f FILE|FOLDER|-",
		Short: "Inject into the pods of manifests",
		Long: "inject writes the manifests to standard output, as one stream, with the labelled pods and pod\n" +
			"templates in them injected, and what it did to standard error. Where it refuses a document it\n" +
			"writes nothing:\n\n" +
			"  webhook inject -f prometheus.yaml -f jobs/ --config webhook.yaml | kubectl apply -f -",
	}, write)
}

func explainCommand(env environment) *cobra.Command {
	return injectionCommand(env, cobra.Command{
		Use:   "explain -f FILE|FOLDER|-",
		Short: "Say what inject would do, and why",
		Long:  "explain says of each object in manifests whether it would be injected, and where each value comes from.",
	}, func(r *manifest.Result, env environment) error { return r.Explain(env.stdout) })
}

// injectionCommand returns a command that injects into manifests and prints the result
// with print.
func injectionCommand(env environment, cmd cobra.Command, print func(*manifest.Result, environment) error) *cobra.Command {
	flags := &fileFlags{}
	flags.addFilename(cmd.Flags())
	flags.addSources(cmd.Flags(), commandline.VersionOf(env.version))
	return fileCommand(env, cmd, flags, func(files []manifest.File) (*manifest.Result, string, error) {
		if err := flags.readSources(); err != nil {
			return nil, "", err
		}
		hint := ""
		if flags.Defaults == nil && flags.ConfigMap == nil {
			hint = " (and no --config was given)"
		}
		return manifest.InjectFiles(files, flags.Options), hint, nil
	}, print)
}

func uninjectCommand(env environment) *cobra.Command {
	flags := &fileFlags{}
	cmd := cobra.Command{
		Use:   "uninject -f FILE|FOLDER|-",
		Short: "Take out of manifests what was injected",
		Long:  "uninject writes the manifests to standard output, as one stream, without what inject has added.",
	}
	flags.addFilename(cmd.Flags())
	return fileCommand(env, cmd, flags, func(files []manifest.File) (*manifest.Result, string, error) {
		return manifest.UninjectFiles(files), "", nil
	}, write)
}

// write writes the manifests, and a report to standard error.
func write(r *manifest.Result, env environment) error {
	if err := r.Report(env.stderr); err != nil {
		return fmt.Errorf("write what was done: %w", err)
	}
	if _, err := env.stdout.Write(r.Output); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// noLooseFiles refuses files without a flag. A shell makes them of -f *.yaml.
func noLooseFiles(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &flagset.UsageError{Problem: fmt.Sprintf("%q has no -f: name each file with one of its own, such as -f %[1]s, or name their folder", args[0])}
}

// fileCommand returns a command that reads manifests, processes them and prints the
// result. If process returns a hint, it ends the sentence about refused documents.
func fileCommand(env environment, cmd cobra.Command, flags *fileFlags, process func([]manifest.File) (result *manifest.Result, hint string, err error), print func(*manifest.Result, environment) error) *cobra.Command {
	flags.stdin = env.stdin
	cmd.Args = noLooseFiles
	cmd.RunE = func(*cobra.Command, []string) error {
		files, err := flags.read()
		if err != nil {
			return err
		}
		result, hint, err := process(files)
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

// readSources validates the flags of an injection, and reads the files that they name.
func (f *fileFlags) readSources() (err error) {
	switch f.NativeSidecar {
	case "", "auto", "true", "false":
	default:
		return &flagset.UsageError{Flag: "--native-sidecar", Value: f.NativeSidecar, Problem: "is not known: write auto, true or false"}
	}
	if f.Namespace != "" {
		if err := installation.CheckNamespace(f.Namespace); err != nil {
			return err
		}
	}
	if f.Defaults, err = readConfig("--config", f.config, webhook.ParseConfig); err != nil {
		return err
	}
	f.ConfigMap, err = readConfig(flagConfigMap, f.configMap, webhook.ParseNamespaceConfig)
	return err
}

// flagConfigMap is the flag that also accepts a whole ConfigMap, because that is what
// users apply to a namespace.
const flagConfigMap = "--configmap"

// configOf returns the InjectionConfig in a file that is a ConfigMap, and its name for
// errors. It returns another file unchanged.
func configOf(source string, data []byte) (string, []byte, error) {
	var object struct {
		Kind string         `yaml:"kind"`
		Data map[string]any `yaml:"data"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if decoder.Decode(&object) != nil || object.Kind != "ConfigMap" || !errors.Is(decoder.Decode(&yaml.Node{}), io.EOF) {
		return source, data, nil // if it is another mistake, the parser reports it
	}
	text, ok := object.Data[webhook.ConfigKey].(string)
	if !ok {
		return "", nil, &flagset.UsageError{Problem: fmt.Sprintf("%s is a ConfigMap without the key %s: write an InjectionConfig there", source, webhook.ConfigKey)}
	}
	return fmt.Sprintf("%s (key %s)", source, webhook.ConfigKey), []byte(text), nil
}

// readConfig reads the InjectionConfig that a flag names. It returns nil if the flag
// names none.
func readConfig(flag, name string, parse func(string, []byte) (*webhook.Config, error)) (*webhook.Config, error) {
	if name == "" {
		return nil, nil
	}
	if name == standardInput {
		return nil, &flagset.UsageError{Flag: flag, Value: name, Problem: "cannot be standard input: name a file"}
	}
	data, err := readFile(flag, name, nil, maxInput)
	if err != nil {
		return nil, err
	}
	source := fmt.Sprintf("%s %q", flag, name)
	if flag == flagConfigMap {
		if source, data, err = configOf(source, data); err != nil {
			return nil, err
		}
	}
	config, err := parse(source, data)
	if err != nil {
		// The reader of the error has the file, and may see its content.
		return nil, &flagset.UsageError{Problem: webhook.Detail(err), Err: err}
	}
	return config, nil
}
