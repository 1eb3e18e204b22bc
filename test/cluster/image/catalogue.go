// SPDX-License-Identifier: Apache-2.0

package image

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
)

// The names of the images of the test clusters.
const (
	Sandbox               = "sandbox" // the first program in each pod
	Etcd                  = "etcd"
	KubeAPIServer         = "kube-apiserver"
	KubeControllerManager = "kube-controller-manager"
	KubeScheduler         = "kube-scheduler"
	Server                = "server" // konnectivity's
	Agent                 = "agent"  // konnectivity's
	CoreDNS               = "coredns"
	Prometheus            = "prometheus"
	NodeExporter          = "node-exporter"
	PrometheusOperator    = "prometheus-operator"
	ConfigReloader        = "prometheus-config-reloader"
	CertManager           = "cert-manager" // its controllers, in one process
	Extension             = "extension"    // an aggregated API and an admission webhook
	Busybox               = "busybox"      // a shell, wget without TLS, httpd
	Curl                  = "curl"         // with busybox
	Kubectl               = "kubectl"      // with busybox
)

// Users of images whose programs need no root:
const (
	nonRoot = "65532:65532"
	nobody  = "65534:65534"
)

// recipe describes how the image of one program is made.
type recipe struct {
	binary string // below test/bin, or absolute
	user   string
	// program is the path of the program in the image, or its name in /usr/bin. If empty,
	// it is the name of binary.
	program string
	shell   bool // busybox is in the image as well
}

// recipes returns each image by its name.
func recipes() map[string]recipe {
	return map[string]recipe{
		Sandbox:               {binary: "node/pause", user: nonRoot},
		Etcd:                  {binary: "kube/etcd"},
		KubeAPIServer:         {binary: "kube/kube-apiserver"},
		KubeControllerManager: {binary: "kube/kube-controller-manager"},
		KubeScheduler:         {binary: "kube/kube-scheduler"},
		Server:                {binary: "server", user: nonRoot, program: "proxy-server"},
		Agent:                 {binary: "agent", user: nonRoot, program: "proxy-agent"},
		CoreDNS:               {binary: "node/coredns", user: nonRoot},
		Prometheus:            {binary: "node/prometheus", user: nobody},
		NodeExporter:          {binary: "node/prometheus-node-exporter", user: nobody, program: "node_exporter"},
		PrometheusOperator:    {binary: "node/operator", user: nobody},
		ConfigReloader:        {binary: "node/prometheus-config-reloader", user: nobody, program: "/bin/prometheus-config-reloader"}, // the path in the operator's pods
		CertManager:           {binary: "node/cert-manager", user: nonRoot},
		Extension:             {binary: "node/extension", user: nonRoot},
		Busybox:               {shell: true},
		Curl:                  {binary: "/usr/bin/curl", shell: true},
		Kubectl:               {binary: "kube/kubectl", shell: true},
	}
}

// Reference returns the name of the image in pods. Its tag is not latest, so that a
// kubelet does not pull the image unless a pod asks for that.
func Reference(name string) string { return "registry.example/test/" + name + ":test" }

// New describes the image of that name, made of the programs in the folder test/bin of
// the repository. The image has its program, usually in /usr/bin, which is its
// entrypoint. It also has a folder /tmp.
func New(name, testBin string) (Image, error) {
	r, ok := recipes()[name]
	if !ok {
		return Image{}, fmt.Errorf("the test clusters have no image %q", name)
	}
	image := Image{
		Reference: Reference(name),
		User:      r.user,
		Env:       []string{"PATH=/usr/bin:/bin"},
		Files:     []File{{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777}},
	}
	if r.shell {
		shell, err := busybox(filepath.Join(testBin, "node", "busybox"))
		if err != nil {
			return Image{}, fmt.Errorf("image %s: %w", name, err)
		}
		image.Files = append(image.Files, shell...)
		image.Entrypoint = []string{"/bin/sh"}
	}
	if r.binary == "" {
		return image, nil
	}
	binary := r.binary
	if !filepath.IsAbs(binary) {
		binary = filepath.Join(testBin, binary)
	}
	to := cmp.Or(r.program, filepath.Base(binary))
	if !path.IsAbs(to) {
		to = path.Join("/usr/bin", to)
	}
	program, err := Program(binary, to)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w: `make cluster-binaries` builds what is missing", name, err)
	}
	image.Files = append(image.Files, program...)
	image.Entrypoint = []string{to}
	return image, nil
}
