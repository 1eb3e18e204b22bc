// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"
)

func TestDefaultImagesHaveATag(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3":                 "v1.2.3",
		"v0.0.0-2026-abc+dirty":  "v0.0.0-2026-abc",
		"(devel)":                "latest",
		"unknown":                "latest",
		"":                       "latest",
		strings.Repeat("v", 129): "latest",
	} {
		images := ImagesInUse(nil, Images{}, version)
		if images.ProxyClient != "shoot-proxy/proxy-client:"+want || images.InitRedirect != "shoot-proxy/init-redirect:"+want {
			t.Errorf("of version %q, want tag %s: %+v", version, want, images)
		}
		for _, image := range []string{images.ProxyClient, images.InitRedirect} {
			if err := CheckImage(image); err != nil {
				t.Errorf("the default %q is refused: %v", image, err)
			}
		}
	}
}

// TestImagesInUse: a flag overrides the configuration, and that overrides the default,
// for each image.
func TestImagesInUse(t *testing.T) {
	parse := func(text string) *Config {
		c, err := ParseConfig("--config", []byte(header+text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const one = "images: {proxyClient: config/a}\n"
	for name, tc := range map[string]struct {
		config *Config
		given  Images
		want   Images
	}{
		"nothing":           {nil, Images{}, Images{"shoot-proxy/proxy-client:v1", "shoot-proxy/init-redirect:v1"}},
		"the configuration": {parse(one), Images{}, Images{"config/a", "shoot-proxy/init-redirect:v1"}},
		"its version":       {parse(one + "version: 0.1.0\n"), Images{}, Images{"config/a", "shoot-proxy/init-redirect:0.1.0"}},
		"a flag":            {parse(one), Images{ProxyClient: "flag/a"}, Images{"flag/a", "shoot-proxy/init-redirect:v1"}},
	} {
		if got := ImagesInUse(tc.config, tc.given, "v1"); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// TestCheckImage: images that a kubelet accepts, and those that it calls
// InvalidImageName.
func TestCheckImage(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, good := range []string{
		"a", "a:b", "library/a_b", "a__b/c-d.e", "a---b", "registry.example/a:v1.0.0_x-2", "registry.example:5000/a/b" + digest,
		"localhost/a:b" + digest, "[fd00::1]:5000/a", "10.0.0.1:5000/a", "Registry.Example/a",
	} {
		if err := CheckImage(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", " ", "a b", "a\n", "https://registry.example/a", "registry.example/A", "a:", "a/", "/a", "a//b", "-a", "a:-b", "a..b",
		"a@sha256:1", "a@b", "registry.example:port/a", "a:" + strings.Repeat("b", 129), "ä", "registry.example/{{ .Values.image }}", "a:b:c",
	} {
		if err := CheckImage(bad); err == nil {
			t.Errorf("%q is taken for an image", bad)
		}
	}
}

// TestOneImageOfTwoIsWarnedOf: two default images are intended. One default beside an
// image of a registry is probably forgotten.
func TestOneImageOfTwoIsWarnedOf(t *testing.T) {
	const text = header + "shoot: {podCIDRs: [100.64.0.0/12]}\nproxyServer: {addresses: ['vpn:8090'], tls: {caSecret: a, clientSecret: b}}\n"
	const clientMissing = "images.proxyClient is not set beside images.initRedirect: the pod gets shoot-proxy/proxy-client:v1"
	const redirectMissing = "images.initRedirect is not set beside images.proxyClient: the pod gets shoot-proxy/init-redirect:v1"
	for _, tt := range []struct {
		images string
		flags  Images
		want   string
	}{
		{"", Images{}, ""},
		{"images: {initRedirect: registry.example/b}\n", Images{}, clientMissing},
		{"images: {proxyClient: registry.example/a}\n", Images{}, redirectMissing},
		{"images: {proxyClient: registry.example/a, initRedirect: registry.example/b}\n", Images{}, ""},
		{"images: {proxyClient: registry.example/a}\n", Images{InitRedirect: "registry.example/b"}, ""},
		{"", Images{ProxyClient: "registry.example/a"}, redirectMissing},
		{"", Images{InitRedirect: "registry.example/b"}, clientMissing},
	} {
		c, err := ParseConfig("--config", []byte(text+tt.images))
		if err != nil {
			t.Fatal(err)
		}
		pod := podOf(t, "metadata: {labels: {shoot-proxy.io/inject: 'true'}}\nspec: {containers: [{name: a, image: a}]}\n")
		r := Mutate(Request{Pod: pod, Defaults: c, Images: tt.flags, Version: "v1", OldestNode: NoOldNodes})
		if got := strings.Join(r.Warnings, "; "); got != tt.want || r.Decision != Inject {
			t.Errorf("%s%v: %s %s\ngot  %q\nwant %q", tt.images, tt.flags, r.Decision, r.Message, got, tt.want)
		}
	}
}
