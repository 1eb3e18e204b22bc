// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// adviceBase is a configuration in which the tests make one value after the other
// invalid.
const adviceBase = `
apiVersion: config.shoot-proxy.io/v1alpha1
kind: InjectionConfig
shoot: {podCIDRs: [100.64.0.0/12]}
proxyServer:
  addresses: ["vpn-proxy-server:8090"]
  tls: {caSecret: ca-proxy, clientSecret: proxy-client-tls}
`

// badValues are values of which each is invalid for at least one field.
var badValues = []any{"x y", "/run/server.sock", "https://a:1", "unix:///run/s", "a", ":1", "10.0.0.0/4", "127.0.0.1", "::1", "1.5", "1MB", "500ms", 0, -1, 99999999999}

// advisedInConfig matches what a sentence advises to write.
var advisedInConfig = regexp.MustCompile(`write (?:it like |one such as |an? [a-z ]+,? such as |a number and its unit, such as |an address and a length, such as )?(.*)$`)

// plainAdvice matches a value that can be written as it is.
var plainAdvice = regexp.MustCompile(`^[^ ]*[0-9/:.-][^ ]*$|^(?:auto|grpc|http-connect|nft|legacy|json|text|debug|info|warn|error|true|false|Always|IfNotPresent|Never)$`)

// withValue returns adviceBase with another value at a path.
func withValue(t *testing.T, path string, value any) []byte {
	t.Helper()
	root := map[string]any{}
	if err := yaml.Unmarshal([]byte(adviceBase), &root); err != nil {
		t.Fatal(err)
	}
	at := root
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		next, ok := at[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
	at[names[len(names)-1]] = value
	text, err := yaml.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// refusedField returns the sentence that refuses a value at a path, or "".
func refusedField(t *testing.T, path string, value any) string {
	t.Helper()
	_, err := ParseConfig("--config", withValue(t, path, value))
	if err != nil && strings.Contains(err.Error(), "write a list") {
		_, err = ParseConfig("--config", withValue(t, path, []any{value}))
	}
	if err == nil || !strings.Contains(err.Error(), path) {
		return ""
	}
	return err.Error()
}

// A value that a field's refusal advises to write is not refused in that field.
func TestAdviceForFieldsIsNotRefused(t *testing.T) {
	var paths []string
	for _, f := range configfile.Fields() {
		paths = append(paths, f.Name)
	}
	for _, owner := range []string{"sidecar", "redirect"} {
		for _, amount := range []string{"requests.cpu", "requests.memory", "limits.cpu", "limits.memory"} {
			paths = append(paths, owner+".resources."+amount)
		}
	}
	paths = append(paths, "policy.seedCIDRs")
	followed := 0
	for _, path := range slices.Compact(paths) {
		for _, bad := range badValues {
			refusal := refusedField(t, path, bad)
			match := advisedInConfig.FindStringSubmatch(refusal)
			if match == nil {
				continue
			}
			for _, value := range regexp.MustCompile(`,? or |, `).Split(match[1], -1) {
				value, _, _ = strings.Cut(strings.Trim(value, `"`), " for ")
				if value == "host:port" || !plainAdvice.MatchString(value) {
					continue
				}
				followed++
				if again := refusedField(t, path, value); again != "" {
					t.Errorf("%s\nand with %q: %s", refusal, value, again)
				}
			}
		}
	}
	t.Logf("%d advices were followed", followed)
	if followed < 500 {
		t.Errorf("%d advices were followed, and there are more", followed)
	}
}
