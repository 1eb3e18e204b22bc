// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// containerOptions are the flags of both containers.
type containerOptions struct {
	proxyClient  *options.ProxyClient
	initRedirect *options.InitRedirect
	totalBuffer  int64 // bytes
	healthPort   int32
	emptyLists   []string // flags whose CIDR lists are excluded completely
}

// ports returns proxy-client's ports in the pod.
func (p *containerOptions) ports() []int {
	return []int{defaults.AdminPort, int(p.initRedirect.ProxyPort), int(p.healthPort)}
}

// containerOptions renders the settings as flags, and validates them with the programs'
// own code. It returns a [*flagset.UsageError] for what the programs would refuse.
func (s *settings) containerOptions() (*containerOptions, error) {
	p, i := options.NewProxyClient(), options.NewInitRedirect()
	for _, program := range []struct {
		name string
		add  func(*pflag.FlagSet)
	}{{proxyClient, p.AddFlags}, {initRedirect, i.AddFlags}} {
		flags := pflag.NewFlagSet(program.name, pflag.ContinueOnError)
		program.add(flags)
		if err := s.setFlags(flags); err != nil {
			return nil, flagset.FlagError(program.name, err)
		}
	}
	p.CACert = pathCA + "/" + s.ProxyServer.TLS.CAKey
	p.ClientCert, p.ClientKey = pathClient+"/"+corev1.TLSCertKey, pathClient+"/"+corev1.TLSPrivateKeyKey
	if s.hasExit() {
		p.ExitCACert = pathExitCA + "/" + s.exitCAKey()
		p.ExitClientCert, p.ExitClientKey = pathExitClient+"/"+corev1.TLSCertKey, pathExitClient+"/"+corev1.TLSPrivateKeyKey
	}
	p.HealthAddress = ":" + s.Sidecar.HealthPort
	cidrs, err := options.CheckPod(i, p)
	if err != nil {
		return nil, blameSettablePort(err, i.ProxyPort, s.Sidecar.HealthPort)
	}
	port, err := strconv.ParseInt(s.Sidecar.HealthPort, 10, 32)
	if err != nil {
		return nil, &flagset.UsageError{Flag: options.FlagHealthAddress, Value: s.Sidecar.HealthPort, Problem: "is not a port: ports are whole numbers from 1 to 65535"}
	}
	for _, listener := range []struct {
		flag string
		port int64
	}{{options.FlagListenAddress, int64(i.ProxyPort)}, {options.FlagHealthAddress, port}} {
		if listener.port < firstUnprivilegedPort {
			return nil, &flagset.UsageError{
				Flag: listener.flag, Value: strconv.FormatInt(listener.port, 10),
				Problem: "needs a privilege that proxy-client does not have: write a port from 1024 to 65535",
			}
		}
	}
	return &containerOptions{p, i, p.TotalBuffer, int32(port), cidrs.EmptyLists()}, nil
}

// blameSettablePort returns an error about --admin-address as one about the port that
// collides with it. No field sets --admin-address.
func blameSettablePort(err error, proxyPort int64, healthPort string) error {
	usage, ok := errors.AsType[*flagset.UsageError](err)
	if !ok || usage.Flag != options.FlagAdminAddress {
		return err
	}
	blamed := flagset.UsageError{Flag: options.FlagHealthAddress, Value: healthPort, Problem: "is the port of the status page: write another"}
	if proxyPort == defaults.AdminPort {
		blamed.Flag, blamed.Value = options.FlagListenAddress, strconv.FormatInt(proxyPort, 10)
	}
	return &blamed
}

// firstUnprivilegedPort is the first port that a process without NET_BIND_SERVICE may
// listen at on every node (ip(7), ip_unprivileged_port_start). Some container runtimes
// set a lower one.
const firstUnprivilegedPort = 1024

// setFlags sets those flags of a program for which there is a setting.
func (s *settings) setFlags(flags *pflag.FlagSet) error {
	for _, f := range s.fields {
		values := f.Of(&s.File)
		if f.Flag == "" || values == nil || isAboutExit(f.Name) && !s.hasExit() {
			continue
		}
		name := strings.TrimPrefix(f.Flag, "--")
		flag := flags.Lookup(name)
		if flag == nil {
			continue // a flag of the other program
		}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			if err := list.Replace(values); err != nil {
				return err
			}
		} else if err := flags.Set(name, values[0]); err != nil {
			return err
		}
	}
	return nil
}

// check returns what is wrong with settings that no program's flag validates.
func (s *settings) check() (name, value, problem string) {
	for _, address := range s.ProxyServer.Addresses {
		switch {
		case strings.HasPrefix(address, "unix:"), strings.HasPrefix(address, "/"):
			return "proxyServer.addresses", address, "is a Unix socket, which no pod can reach: write host:port"
		case strings.Contains(address, "://"):
			return "proxyServer.addresses", address, "is a URL: write host:port alone"
		}
	}
	for _, object := range []struct{ name, value string }{
		{"proxyServer.tls.caSecret", s.ProxyServer.TLS.CASecret},
		{"proxyServer.tls.caConfigMap", s.ProxyServer.TLS.CAConfigMap},
		{"proxyServer.tls.clientSecret", s.ProxyServer.TLS.ClientSecret},
		{"exit.tls.caSecret", s.Exit.TLS.CASecret},
		{"exit.tls.caConfigMap", s.Exit.TLS.CAConfigMap},
		{"exit.tls.clientSecret", s.Exit.TLS.ClientSecret},
	} {
		if problem := checkName(object.value); object.value != "" && problem != "" {
			return object.name, object.value, problem
		}
	}
	for _, key := range []struct{ name, value string }{
		{"proxyServer.tls.caKey", s.ProxyServer.TLS.CAKey}, {"exit.tls.caKey", s.exitCAKey()},
	} {
		if errs := validation.IsConfigMapKey(key.value); len(errs) > 0 {
			return key.name, key.value, "is not a key of a Secret or a ConfigMap: write one such as ca.crt"
		}
	}
	if name, value, problem := s.checkExit(); problem != "" {
		return name, value, problem
	}
	switch s.NativeSidecar {
	case nativeAuto, nativeYes, nativeNo:
	default:
		return "nativeSidecar", s.NativeSidecar, "is not known: write auto, true or false"
	}
	switch corev1.PullPolicy(s.Sidecar.ImagePullPolicy) {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return "sidecar.imagePullPolicy", s.Sidecar.ImagePullPolicy, "is not a policy: write Always, IfNotPresent or Never"
	}
	for _, image := range []struct{ name, value string }{
		{"images.proxyClient", s.Images.ProxyClient}, {"images.initRedirect", s.Images.InitRedirect},
	} {
		if err := CheckImage(image.value); err != nil {
			return image.name, image.value, err.Error()
		}
	}
	if strings.ContainsFunc(s.Version, unicode.IsControl) {
		return "version", s.Version, "is not a version: write one such as 0.1.0"
	}
	switch s.Sidecar.ReadinessProbe {
	case "true", "false":
	default:
		return "sidecar.readinessProbe", s.Sidecar.ReadinessProbe, "is not known: write true or false"
	}
	if name, value, problem := s.Sidecar.Resources.Check("sidecar.resources", configfile.Amounts{}); problem != "" {
		return name, value, problem
	}
	if name, value, problem := s.Redirect.Resources.Check("redirect.resources", configfile.Amounts{Memory: memoryOfInitRedirect}); problem != "" {
		return name, value, problem
	}
	if limit, given := s.Redirect.Resources.Limits.ResourceList()[corev1.ResourceMemory]; given && limit.Value() < leastMemoryOfInitRedirect {
		return "redirect.resources.limits.memory", s.Redirect.Resources.Limits.Memory, "is less than the 8Mi that init-redirect needs: raise it"
	}
	return s.checkPodParts()
}

// checkPodParts returns what is wrong with the labels and pull secrets for a pod.
func (s *settings) checkPodParts() (name, value, problem string) {
	for _, key := range slices.Sorted(maps.Keys(s.Pod.Labels)) {
		switch {
		case strings.HasPrefix(key, AnnotationPrefix):
			return "pod.labels", key, "is one of the webhook's own: remove it"
		case len(validation.IsQualifiedName(key)) > 0:
			return "pod.labels", key, "is not a label: write one such as example.com/name"
		case len(validation.IsValidLabelValue(s.Pod.Labels[key])) > 0:
			return "pod.labels", key, fmt.Sprintf("has value %q, which is not one of a label: write at most 63 letters, digits, -, _ and .", s.Pod.Labels[key])
		}
	}
	for _, secret := range s.Pod.ImagePullSecrets {
		if problem := checkName(secret); problem != "" {
			return "pod.imagePullSecrets", secret, problem
		}
	}
	return "", "", ""
}

// minMemoryBytes returns what proxy-client needs, in bytes. It is twice what may be
// held for apps, because a garbage collector needs as much again. The minimum is what
// the process takes without any connection (README.md, "Memory").
func minMemoryBytes(totalBuffer int64) int64 { return max(2*totalBuffer, 32<<20) }

// memory returns proxy-client's limit in bytes. The amounts were parsed before.
func (s *settings) memory(totalBuffer int64) (limit int64, problem string) {
	limit = minMemoryBytes(totalBuffer)
	limits, requests := s.Sidecar.Resources.Limits, s.Sidecar.Resources.Requests
	given, limited := limits.ResourceList()[corev1.ResourceMemory]
	request := requests.ResourceList()[corev1.ResourceMemory]
	switch {
	case limited && given.Value() >= limit:
		return given.Value(), ""
	case limited && limit > 2*totalBuffer:
		return 0, fmt.Sprintf("sidecar.resources.limits.memory %q is less than the 32Mi that proxy-client needs with few connections: raise it", limits.Memory)
	case limited:
		return 0, fmt.Sprintf("sidecar.resources.limits.memory %q is less than twice sidecar.totalBuffer: raise it, or lower that", limits.Memory)
	case request.Value() > limit:
		return 0, fmt.Sprintf("sidecar.resources.requests.memory %q is more than the limit, which follows from sidecar.totalBuffer: lower it, or set sidecar.resources.limits.memory", requests.Memory)
	default:
		return limit, ""
	}
}

// checkValues validates each value of one source as if all required values were set.
// Placeholders stand for the missing ones.
func (c *Config) checkValues() string {
	s := newSettings()
	placeholder := map[string]string{
		"shoot.podCIDRs":        "192.0.2.0/24", // RFC 5737: an address of no host
		"proxyServer.addresses": "proxy-server.invalid:1",
		"images.proxyClient":    "image",
		"images.initRedirect":   "image",
	}
	for name, value := range exitPlaceholders(&c.file) {
		placeholder[name] = value
	}
	given := len(c.file.Shoot.CIDRs()) > 0
	for _, f := range s.fields {
		values := f.Of(&c.file)
		switch {
		case values != nil:
		case f.Name == "shoot.podCIDRs" && given:
			continue
		case placeholder[f.Name] != "":
			values = []string{placeholder[f.Name]}
		case f.Fallback != "":
			values = []string{f.Fallback}
		default:
			continue
		}
		f.Set(&s.File, values)
	}
	if name, value, problem := s.check(); problem != "" {
		return fmt.Sprintf("%s %q %s", name, value, problem)
	}
	if tls := s.ProxyServer.TLS; tls.CASecret != "" && tls.CAConfigMap != "" {
		return fmt.Sprintf("proxyServer.tls.caConfigMap %q %s", tls.CAConfigMap, twoCAs)
	}
	if tls := c.file.Exit.TLS; tls.CASecret != "" && tls.CAConfigMap != "" {
		return fmt.Sprintf("exit.tls.caConfigMap %q %s", tls.CAConfigMap, twoCAs)
	}
	p, err := s.containerOptions()
	if err != nil {
		name, value, problem := inFieldWords(err)
		return strings.Join(slices.DeleteFunc([]string{name, quoted(value), problem}, func(part string) bool { return part == "" }), " ")
	}
	if uid := p.initRedirect.ProxyUID; uid > maxPodUID {
		return fmt.Sprintf("redirect.proxyUID \"%d\" is more than a pod may say, which is %d: write one such as %d", uid, maxPodUID, defaults.ProxyUID)
	}
	_, problem := s.memory(p.totalBuffer)
	return problem
}

// maxPodUID is the highest runAsUser that kube-apiserver accepts.
const maxPodUID = math.MaxInt32

// inFieldWords translates a program's error about a flag to a problem of a field.
func inFieldWords(err error) (name, value, problem string) {
	usage, ok := errors.AsType[*flagset.UsageError](err)
	if !ok {
		return "", "", err.Error()
	}
	words := []string{options.FlagHealthAddress, "sidecar.healthPort", options.FlagListenAddress, "redirect.proxyPort"}
	longestFirst := slices.SortedFunc(slices.Values(configfile.Fields()), func(a, b configfile.Field) int { return len(b.Flag) - len(a.Flag) })
	switch usage.Flag { // these are computed from fields
	case options.FlagHealthAddress:
		name, usage.Value = "sidecar.healthPort", strings.TrimPrefix(usage.Value, ":")
	case options.FlagListenAddress:
		name = "redirect.proxyPort"
	}
	for _, f := range longestFirst { // --exit begins other flags
		if f.Flag != "" {
			words = append(words, f.Flag, f.Name)
		}
		if f.Flag == usage.Flag {
			name = f.Name
		}
	}
	return name, usage.Value, strings.NewReplacer(words...).Replace(usage.Problem)
}

func quoted(value string) string {
	if value == "" {
		return ""
	}
	return fmt.Sprintf("%q", value)
}

// checkName returns what is wrong with the name of a Secret or a ConfigMap.
func checkName(name string) string {
	if name == "" {
		return "is empty: write the name of one"
	}
	if errs := validation.IsDNS1123Subdomain(name); len(errs) > 0 {
		return "is not a name: write lower case letters, digits, - and ."
	}
	return ""
}

// plainPrefix matches the characters of a CIDR.
var plainPrefix = regexp.MustCompile(`^[0-9a-fA-F:.]+/[0-9]+$`)

// parsePrefix parses a CIDR of the seed. Host bits are ignored.
func parsePrefix(value string) (p netip.Prefix, problem string) {
	p, err := netip.ParsePrefix(value)
	if err != nil || !plainPrefix.MatchString(value) {
		return p, "is not a CIDR: write one such as 10.0.0.0/8"
	}
	return p.Masked(), ""
}
