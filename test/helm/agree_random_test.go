// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// probes are values of every kind, some of them valid for some fields.
var probes = []string{
	`""`, `" "`, "x", "X", "5", "0", "-1", "1.5", "true", `"true"`, "auto", "10s", "1h", "0s", "1Mi", "64MiB", "1Gi", "100m", "1e9", "65535", `"65536"`, "14001", "14021",
	"a.b", "a_b", "a/b", "10.0.0.0/8", "10.0.0.1", "vpn:8090", "unix:///x", "nft", "text", "debug", "Always", "mode", "ca.crt", `"é"`,
}

// TestHelmAndTheWebhookAgreeOnEveryField: for any value in any field, the webhook and
// helm give the same verdict.
func TestHelmAndTheWebhookAgreeOnEveryField(t *testing.T) {
	r := newRenderer(t).checksOnly()
	all := readSchema(t, chart)
	config := all.Properties["config"]
	leaves, _ := config.leaves("", all)
	if len(leaves) < 20 {
		t.Fatalf("the schema has only fields %q", leaves)
	}
	for _, leaf := range leaves {
		if leaf == "apiVersion" || leaf == "kind" {
			continue // the header has them
		}
		t.Run(leaf, func(t *testing.T) {
			t.Parallel()
			values := slices.Clone(probes)
			if config.at(leaf, all).Items != nil {
				for i, probe := range probes {
					values[i] = "[" + probe + "]"
				}
			}
			for _, value := range append(values, "x", "[]", "[x]", "{}", "{a: b}") {
				r.compare(t, nested(leaf, value), value)
			}
		})
	}
}

// nested returns the YAML of a value at a path.
func nested(path, value string) string {
	names := strings.Split(path, ".")
	for _, name := range slices.Backward(names[1:]) {
		value = "{" + name + ": " + value + "}"
	}
	return names[0] + ": " + value
}

// compare expects the same verdict of both.
func (r renderer) compare(t *testing.T, text, value string) {
	t.Helper()
	v := r.judge(text)
	switch {
	case v.helm == nil && v.installed != nil:
		t.Errorf("%s\nhelm installs what the webhook refuses: %v", text, v.installed)
	case v.helm != nil && !strings.Contains(v.helm.Error(), "execution error at") && !strings.Contains(v.helm.Error(), "at '/config"):
		t.Errorf("%s\nhelm fails for another reason: %v", text, v.helm)
	case (v.helm == nil) == (v.webhook == nil), needsQuotes(value):
	case v.helm == nil:
		t.Errorf("%s\nhelm accepts what the webhook refuses: %v", text, v.webhook)
	default:
		t.Errorf("%s\nhelm refuses what the webhook accepts: %v", text, v.helm)
	}
}

// needsQuotes reports whether a value is a number or a switch. If a field is a text, helm
// refuses such a value or changes it: it reads 1e9 as 1000000000.
func needsQuotes(value string) bool {
	first, _, _ := strings.Cut(strings.Trim(value, "[]"), ",")
	return first == "true" || first != "" && strings.Trim(first, "-.0123456789e") == ""
}

// TestHelmAndTheWebhookAgreeOnNetworks tries random networks near each other, so that
// they overlap, join and exclude each other.
func TestHelmAndTheWebhookAgreeOnNetworks(t *testing.T) {
	r := newRenderer(t).checksOnly()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	refused := 0
	for range 300 {
		text := fmt.Sprintf("shoot: {podCIDRs: [%s], nodeCIDRs: [%s]}\nexcludeCIDRs: [%s]\nproxyServer: {addresses: [%q]}",
			networks(random), networks(random), networks(random), address(random)+":8090")
		r.compare(t, text, "")
		if _, err := webhook.ParseConfig("the configuration", []byte(configHeader+text)); err != nil {
			refused++
		}
		if t.Failed() {
			return
		}
	}
	if refused < 40 || refused > 260 {
		t.Errorf("%d of 300 are refused: that compares too little", refused)
	}
}

// networks returns one to four CIDRs, few of which have host bits.
func networks(random *rand.Rand) string {
	var all []string
	for range 1 + random.IntN(4) {
		length := 6 + random.IntN(6)
		bits := uint32(random.IntN(4)) << 22 // 10.0.0.0/8 in quarters
		if random.IntN(3) == 0 {
			length, bits = 8+random.IntN(5), uint32(random.IntN(8))<<21
		}
		if random.IntN(30) != 0 {
			bits &= ^uint32(0) << (32 - length)
		}
		base := uint32(10 << 24)
		if length < 8 {
			base &= ^uint32(0) << (32 - length)
		}
		a := base | bits
		if random.IntN(4) == 0 {
			all = append(all, fmt.Sprintf(`"fd%02x:%x::/%d"`, a>>16&0xff, a&0xffff, 8+length))
			continue
		}
		all = append(all, fmt.Sprintf("%d.%d.%d.%d/%d", a>>24, a>>16&0xff, a>>8&0xff, a&0xff, length))
	}
	return strings.Join(all, ", ")
}

func address(random *rand.Rand) string {
	if random.IntN(2) == 0 {
		return "vpn"
	}
	return fmt.Sprintf("10.%d.0.1", random.IntN(256))
}

// TestHelmAndTheWebhookAgreeOnAmounts tries random quantities. For memory there is a
// minimum.
func TestHelmAndTheWebhookAgreeOnAmounts(t *testing.T) {
	r := newRenderer(t).checksOnly()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	one := func(of ...string) string { return of[random.IntN(len(of))] }
	for range 400 {
		quantity := one("", "", "", "", "+", "-", " ") + one("", "0", "1", "5", "9", "16", "512", "537", "536870912", "536870911", "524288") +
			one("", "", "", ".", ".5", ".25", ".999") + one("", "m", "u", "n", "k", "K", "M", "Mi", "Ki", "G", "Gi", "Ti", "B", "MiB", "e3", "E6", "e9", "e-3", "e", "e3Mi")
		size := one("", "", "16", "128", "512", "0", "016", "-16", "1.5") + one("MiB", "Mi", "GiB", "KiB", "M", "B", "mib")
		text := fmt.Sprintf("sidecar: {totalBuffer: %q, resources: {requests: {cpu: %q}, limits: {memory: %q}}}", size, one("100m", "1", quantity), quantity)
		if random.IntN(3) > 0 {
			text = fmt.Sprintf("sidecar: {resources: {limits: {memory: %q}}}", quantity)
		}
		r.compare(t, text, "")
		if t.Failed() {
			return
		}
	}
}
