// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	admissionv1client "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	networkingv1client "k8s.io/client-go/kubernetes/typed/networking/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/webhook/inspect"
	"github.com/shoot-proxy/proxy-client/webhook/sidecar"
)

// Config says what to collect, and where to write it.
type Config struct {
	// File is the archive. It must not exist.
	File string
	// Cluster is the API server, with the caller's identity.
	Cluster *rest.Config
	// Report is the result of the inspection.
	Report *inspect.Report
	// Program is the name and the version of the calling program.
	Program string
	// Namespaces are those whose pods are collected. Without one, all are.
	Namespaces []string
}

// Limits of what is asked for, so that a large cluster is not disturbed, and so that the
// person need not wait for long.
const (
	requestLimit = 15 * time.Second
	// maxManifests is how many pods are written, and maxLooks how many of them with their
	// logs and status. In maxChecks of these the sidecar's check is run. Pods that are not
	// well come first.
	maxManifests = 300
	maxLooks     = 10
	maxChecks    = 3
	checkLimit   = 40 * time.Second // the check itself ends within 20 s, and then waits some seconds
	totalLimit   = 5 * time.Minute
	logLines     = 1000
	logBytes     = 1 << 20
	maxDocument  = 1 << 20 // bytes of one document of the admin address
)

// collector collects into an archive. What cannot be had is noted in it.
type collector struct {
	Config
	access     *sidecar.Access
	admission  admissionv1client.AdmissionregistrationV1Interface
	networking networkingv1client.NetworkingV1Interface
	archive    *archive
	missing    []string
}

// Contents says what is in a bundle.
type Contents struct {
	File  string
	Names []string
	Bytes int64 // before compression
	// Missing are sentences about what could not be collected.
	Missing []string
}

// Write collects everything and writes the archive. What the caller may not read, or what
// does not answer, is noted in the archive, and is no error.
func Write(ctx context.Context, cfg Config) (*Contents, error) {
	if err := CheckFile(cfg.File); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, totalLimit, fmt.Errorf("the bundle took longer than %s: name some namespaces with --namespace", totalLimit))
	defer cancel()
	cluster := rest.CopyConfig(cfg.Cluster)
	cluster.QPS, cluster.Burst, cluster.WarningHandler = 50, 100, rest.NoWarnings{}
	c := &collector{Config: cfg}
	var errs [3]error
	c.access, errs[0] = sidecar.New(cluster)
	c.admission, errs[1] = admissionv1client.NewForConfig(cluster)
	c.networking, errs[2] = networkingv1client.NewForConfig(cluster)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	err := atomically(cfg.File, func(out io.Writer) error {
		c.archive = newArchive(out, folderOf(cfg.File), cfg.Report.Time)
		if err := c.collect(ctx); err != nil {
			return err
		}
		return c.archive.close()
	})
	if err != nil {
		return nil, err
	}
	return &Contents{File: cfg.File, Names: c.archive.names, Bytes: c.archive.size, Missing: c.missing}, nil
}

// collect adds all files. Its order is that of importance, because the archive may become
// full.
func (c *collector) collect(ctx context.Context) error {
	if err := c.archive.write("README.md", []byte(readme)); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{c.collectReport, c.collectWebhook, c.collectNodes, c.collectPods} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("stopped: %w", context.Cause(ctx))
		}
	}
	if len(c.missing) == 0 {
		return nil
	}
	return c.archive.write("not-collected.txt", scrub([]byte(strings.Join(c.missing, "\n")+"\n")))
}

// collectReport adds the report and the versions.
func (c *collector) collectReport(ctx context.Context) error {
	var text bytes.Buffer
	if err := c.Report.WriteText(&text); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c.Report, "", "  ")
	if err != nil {
		return err
	}
	versions := "program: " + c.Program + "\n"
	// Version of the API server. Everyone may read it (ClusterRole system:public-info-viewer).
	server, err := c.access.Core.RESTClient().Get().AbsPath("/version").DoRaw(ctx)
	if c.had(err, "the API server's version") {
		versions += "api-server: " + strings.Join(strings.Fields(string(server)), " ") + "\n"
	}
	return errors.Join(c.add("report.txt", text.Bytes()), c.add("report.json", data), c.add("versions.txt", []byte(versions)))
}

// had reports whether something could be read. If not, it notes why.
func (c *collector) had(err error, format string, args ...any) bool {
	if err == nil {
		return true
	}
	c.missing = append(c.missing, fmt.Sprintf(format, args...)+": "+strings.Join(strings.Fields(err.Error()), " "))
	return false
}

// add adds a file, or notes that there is no room for it.
func (c *collector) add(name string, text []byte) error {
	err := c.archive.add(name, text)
	if errors.Is(err, errFull) {
		c.had(err, "%s", name)
		return nil
	}
	return err
}

// addObject adds an object as YAML.
func (c *collector) addObject(name string, object any) error {
	text, err := yaml.Marshal(object)
	if err != nil {
		return err
	}
	return c.add(name, text)
}

// addObjects adds objects as documents of one YAML file.
func addObjects[T any](c *collector, name string, objects []T) error {
	var text bytes.Buffer
	for _, o := range objects {
		document, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		text.WriteString("---\n")
		text.Write(document)
	}
	return c.add(name, text.Bytes())
}

// String returns what is in the bundle, and what to look at before it is sent.
func (c *Contents) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s has %d files, %d KiB unpacked:\n", c.File, len(c.Names), (c.Bytes+1023)>>10)
	for _, part := range parts(c.Names) {
		fmt.Fprintf(&text, "  %s\n", part)
	}
	if n := len(c.Missing); n > 0 {
		fmt.Fprintf(&text, "Not collected: %d, and not-collected.txt in it says why. The first: %s\n", n, c.Missing[0])
	}
	text.WriteString("It has no Secret, no key and no token, no value of an environment variable of yours, and no log of a container of yours.\n" +
		"Before you send it, look through it: it has names, labels and addresses of your pods, nodes, namespaces and proxy-servers, and the addresses that the apps connect to.\n")
	return text.String()
}

// parts returns the archive's files, those of a folder as one line.
func parts(names []string) []string {
	counts := map[string]int{}
	for _, name := range names {
		folder, _, inside := strings.Cut(name, "/")
		switch rest := strings.Split(name, "/"); {
		case !inside:
			counts[name] = 0
		case folder == "namespaces":
			counts[strings.Join(rest[:2], "/")+"/"]++
		default:
			counts[folder+"/"]++
		}
	}
	var all []string
	for name, n := range counts {
		if n == 1 {
			name += " (1 file)"
		} else if n > 1 {
			name += fmt.Sprintf(" (%d files)", n)
		}
		all = append(all, name)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(a, b) })
	return all
}

// within limits one request.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, requestLimit)
}
