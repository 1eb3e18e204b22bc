# SPDX-License-Identifier: Apache-2.0
#
# A newcomer needs only `make demo` and `make test`. Each installs what is missing.
# `make help` lists the other targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Root's PATH does not always have the folders of iptables, sshd and Go.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin
# Everything is built in one way, so that programs, tests without the race detector, vet
# and staticcheck share their builds: without cgo and without debug information, which -s -w
# would throw away (Go's stack traces do not need it). Tests with the race detector need
# cgo. The version comes from git describe below: Go's own version stamp fails in a clone
# that belongs to another user.
BUILD_FLAGS := -buildvcs=false -trimpath -gcflags=all=-dwarf=false
export GOFLAGS := $(filter-out -buildvcs% $(BUILD_FLAGS),$(shell go env GOFLAGS 2>/dev/null)) $(BUILD_FLAGS)
export CGO_ENABLED := 0

VERSION ?= $(shell git -c safe.directory='*' describe --tags --always --dirty 2>/dev/null || echo unknown)
# The product's modules: proxy-client, init-redirect and proxy-exit, and the webhook.
MODULES := . webhook
# Runs the command $(1) in the folder of each. A failure in one does not keep it from the next.
EACH_MODULE = { failed=; for module in $(MODULES); do (cd $$module && $(1)) || failed=1; done; [ -z "$$failed" ]; }
LDFLAGS := -s -w
# Programs are linked without golang.org/x/net/trace, which gRPC has for a page that is not
# served. Its templates call methods by name. Without them the linker leaves out methods
# that no code calls, and proxy-client is a fifth smaller.
PROGRAM_TAGS := grpcnotrace
ROOT := $(if $(filter 0,$(shell id -u)),1,)
# If root runs the tests, a privileged test that skips itself is a failure.
REQUIRE_ROOT ?= $(ROOT)

TOOLS := test/bin/tools
GOTESTSUM = $(CURDIR)/$(TOOLS)/gotestsum --format $(1) --format-hide-empty-pkg --
GO_TEST_FLAGS ?=
# The folders in which tests find the product's programs and other programs.
LAB_FOLDERS := LAB_BIN=$(CURDIR)/bin LAB_TEST_BIN=$(CURDIR)/test/bin
FUZZTIME ?= 10m
FUZZ ?= ^Fuzz
BENCH ?= .
BENCH_FLAGS ?=
RESULTS ?= bench-results
COUNT ?= 6
OLD ?=
DURATION ?= 10m
SEED ?=
LOGS ?=
TESTS ?=
# A folder with programs of Kubernetes, so that none are built.
KUBE_BIN ?=
REGISTRY ?= registry.example
KIND_CLUSTER ?= kind
K3S ?= k3s
# The folder of a release: make release and make images write it, make e2e-cluster and
# others use it. make test has its own folder, because dist/ may hold a real release.
DIST ?= dist
TEST_DIST := test/bin/release
ifneq ($(words $(DIST)),1)
$(error DIST='$(DIST)' is not one word: write a folder without spaces, such as DIST=dist)
endif
DIRTY ?=

# A target's line of help begins with its group, one of those in GROUPS.
GROUPS := daily release rarely
# The headings of the groups.
HEADING_daily := While you work
HEADING_release := For a release
HEADING_rarely := Rarely: long runs, benchmarks, clusters to look around in

.PHONY: help
help: ## daily: list the targets
	@$(foreach group,$(GROUPS),echo '$(HEADING_$(group)):'; \
		awk -F ':.*## $(group): ' '/^[a-z0-9-]+:.*## $(group): / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST);)

.PHONY: build
build: packages-build ## daily: static binaries into bin/
	@mkdir -p bin
	$(call EACH_MODULE,go build -tags $(PROGRAM_TAGS) -ldflags '$(LDFLAGS) -X main.version=$(VERSION)' -o '$(CURDIR)/bin/' ./cmd/...)

.PHONY: test-browser
test-browser: need-root packages-browser ## daily: the status page in a real Chromium, with a real sidecar and with 10,000 connections, and checked by axe-core (root)
	@$(MAKE) -j2 axe go-browser
	cd test/browser && REQUIRE_ROOT=$(REQUIRE_ROOT) $(LAB_FOLDERS) $(call GOTESTSUM,testname) -parallel 6 -count=1 -timeout 10m $(GO_TEST_FLAGS) ./...

.PHONY: screenshots
screenshots: need-root packages-browser ## rarely: take the pictures of the status page in docs/ again, with made-up data (root)
	@$(MAKE) peers
	@$(LAB_FOLDERS) go run -C test/browser ./cmd/screenshots $(CURDIR)/docs

.PHONY: release
release: need-root packages-images ## release: everything that is published, into dist/: images, binaries, chart, manifests, SBOMs, checksums; VERSION=0.1.0 REGISTRY=registry.example DIST=folder
	@VERSION='$(VERSION)' REGISTRY='$(REGISTRY)' DIRTY='$(DIRTY)' DIST='$(DIST)' test/release/release

# Builds and their comparison run beside the clusters, which mostly wait.
.PHONY: test
test: ## daily: everything: unit and namespace tests under the race detector, then end to end against real peers
	@$(MAKE) -j2 packages-browser go-test
	$(call EACH_MODULE,CGO_ENABLED=1 REQUIRE_ROOT=$(REQUIRE_ROOT) $(call GOTESTSUM,pkgname) -race -p 3 -timeout 20m $(GO_TEST_FLAGS) $(LONGEST_FIRST) ./...)
	@$(MAKE) test-egressselector
	@$(MAKE) test-gateways
	@$(MAKE) test-bench-micro
	@$(MAKE) test-browser
	@$(MAKE) test-kube
	@$(MAKE) release VERSION=0.1.0 DIRTY=1 DIST=$(TEST_DIST)
	@$(MAKE) cluster-binaries
	@test/beside $(MAKE) test-images chart-test test-release -- $(MAKE) e2e-cluster DIST=$(TEST_DIST)
	@$(MAKE) test-e2e

# The package whose tests take longest begins first, if the module has it.
LONGEST_FIRST = $$([ ! -d pkg/redirect ] || echo ./pkg/redirect)

# Without the race detector, the unit tests share their builds with go vet. All steps run,
# also if an earlier one fails.
.PHONY: check
check: ## daily: lint, and the unit tests of what has changed; 3 minutes at most if the caches are warm, and without root
	@$(MAKE) --keep-going lint units chart-test

.PHONY: test-unit
test-unit: packages-build tools ## daily: tests that need no privileges and touch no namespace
	$(call EACH_MODULE,CGO_ENABLED=1 $(call GOTESTSUM,pkgname) -short -race $(GO_TEST_FLAGS) ./...)

.PHONY: test-netns
test-netns: need-root packages-test tools ## daily: only the packages with tests in network namespaces (root)
	CGO_ENABLED=1 REQUIRE_ROOT=1 $(call GOTESTSUM,pkgname) -race -timeout 20m $(GO_TEST_FLAGS) $$(go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... | awk '/internal\/netnstest/ {print $$1}')

.PHONY: soak
soak: need-root packages-test ## rarely: mixed traffic under random faults, every byte checked (root); DURATION=10m, SEED= repeats a run, LOGS=folder keeps logs, EXIT=1 goes through exits
	@$(MAKE) go-demo
	@test/bin/soak --duration $(DURATION) $(if $(filter-out 0,$(EXIT)),--exit) $(if $(SEED),--seed $(SEED)) $(if $(LOGS),--log-dir $(LOGS))

.PHONY: bench
bench: need-root packages-test ## rarely: every way through a proxy-server side by side, against targets (root; 15 minutes); RESULTS=folder
	@$(MAKE) go-demo
	@test/bin/bench --out '$(RESULTS)' $(BENCH_FLAGS)

.PHONY: bench-quick
bench-quick: ## rarely: the same in 3 minutes, coarser
	@$(MAKE) bench BENCH_FLAGS='--quick $(BENCH_FLAGS)'

.PHONY: bench-isolation
bench-isolation: need-root packages-test ## rarely: what a connection feels beside apps that read slowly or not at all (root; 15 minutes); BENCH=regexp
	@$(MAKE) go-demo
	cd test && $(LAB_FOLDERS) go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 60m $(GO_TEST_FLAGS) ./e2e

.PHONY: bench-micro
bench-micro: packages-build tools ## rarely: benchmarks of single packages, as benchstat reads them; OLD=file compares with an earlier output; BENCH=regexp
	@$(call EACH_MODULE,go test -run '^$$' -bench '$(BENCH)' -count $(COUNT) $(GO_TEST_FLAGS) ./...) | tee bench-micro.txt | grep -v '^ok\|no test files'
	@$(TOOLS)/benchstat $(OLD) bench-micro.txt

.PHONY: fuzz
fuzz: packages-build ## rarely: every fuzz target for FUZZTIME each (10m); FUZZ=regexp picks some
	@FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' GO_TEST_FLAGS='$(GO_TEST_FLAGS)' test/fuzz

.PHONY: lint
lint: packages-build tools ## daily: gofumpt, go vet, staticcheck and go mod tidy over every module, actionlint over the workflow
	@test/lint $(TOOLS)

.PHONY: fmt
fmt: packages-build tools ## daily: format every Go file as lint wants it
	@$(TOOLS)/gofumpt -l -w .

# The cluster's version that helm assumes if it sees no cluster. Without these flags helm
# assumes one that is six years old.
HELM_LDFLAGS = -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36 \
	-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=36

.PHONY: helm
helm: packages-build ## rarely: the helm that the chart's tests use, into test/bin/tools-kube/
	@mkdir -p test/bin/tools-kube
	@test -x test/bin/tools-kube/helm || echo 'building helm (a few minutes the first time)'
	@go build -C test/helm -ldflags '$(LDFLAGS) $(HELM_LDFLAGS)' -o ../bin/tools-kube/ tool

# What the chart's tests read outside of their module, as one checksum. Go's cache of test
# results looks at a module's own files and at the environment alone.
CHART_INPUTS = $$(find charts deploy docs README.md test/bin/tools-kube/helm -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-64)

.PHONY: chart-test
chart-test: helm tools ## daily: the Helm chart and the plain manifests: lint, golden files, bad values, documentation
	inputs=$(CHART_INPUTS); cd test/helm && CHART_INPUTS=$$inputs $(call GOTESTSUM,pkgname) $(GO_TEST_FLAGS) ./...

.PHONY: test-release
test-release: need-root packages-test packages-images tools ## release: two releases of a copy of this tree: the same bytes, complete, published to a registry on loopback (root)
	cd test/release && $(call GOTESTSUM,testname) -count=1 -timeout 30m $(GO_TEST_FLAGS) ./...

.PHONY: manifests
manifests: helm ## daily: rewrite the files that are made from the chart: deploy/ and the golden files
	@go test -C test/helm -count=1 -run '^(TestTemplate|TestExitTemplate|TestNotes|TestHooks|TestManifestsAreUpToDate)$$' . -update

# Kubernetes gets its version from the linker's flags.
KUBE_VERSION = $(shell go list -C test/kubernetes -m -f '{{.Version}}' k8s.io/kubernetes)
KUBE_STAMP := -X k8s.io/component-base/version
KUBE_LDFLAGS = $(KUBE_STAMP).gitVersion=$(KUBE_VERSION) \
	$(KUBE_STAMP).gitMajor=$(patsubst v%,%,$(word 1,$(subst ., ,$(KUBE_VERSION)))) $(KUBE_STAMP).gitMinor=$(word 2,$(subst ., ,$(KUBE_VERSION)))
KUBE_BUILD = go build -C test/kubernetes -ldflags '$(LDFLAGS) $(KUBE_LDFLAGS)' -o $(CURDIR)/test/bin/kube/
KUBE_PROGRAMS := kube-apiserver kube-controller-manager
KUBE_NODE_PROGRAMS := kube-proxy kube-scheduler kubectl kubelet
# Puts Kubernetes' programs $(1) into test/bin/kube/: copies of those in KUBE_BIN, or built.
KUBE_INSTALL = $(if $(KUBE_BIN),test/kubebin '$(KUBE_BIN)' '$(KUBE_VERSION)' test/bin/kube $(1),$(KUBE_BUILD) $(addprefix k8s.io/kubernetes/cmd/,$(1)))

.PHONY: kube
kube: packages-build ## rarely: kube-apiserver and kube-controller-manager, into test/bin/kube/; KUBE_BIN=folder has ready-made ones
	@mkdir -p test/bin/kube
	@test -n '$(KUBE_BIN)' -o -x test/bin/kube/kube-apiserver || echo 'building kube-apiserver and kube-controller-manager (ten minutes the first time)'
	@$(call KUBE_INSTALL,$(KUBE_PROGRAMS))

# containerd's build tags that leave out two parts: storage that needs C libraries, and the
# exporters of traces, which take long to build.
CONTAINERD_TAGS := no_btrfs,no_devmapper,no_zfs,no_tracing
# Prometheus with service discovery for Kubernetes only: the other kinds take minutes to
# compile. Debian's Prometheus has all kinds except Kubernetes.
PROMETHEUS_TAGS := remove_all_sd,enable_kubernetes_sd
# Builds packages $(3) of a module of test/cluster/binaries, its tools if there is no $(3), with tags $(2).
NODE_BUILD = go build -C test/cluster/binaries/$(1) -ldflags '$(LDFLAGS)' $(if $(2),-tags '$(2)') -o $(CURDIR)/test/bin/node/ $(or $(3),tool)
CNI_PLUGINS := bridge host-local loopback portmap
# Copies files $(3) of the module $(2), which a module of test/cluster/binaries needs, into test/bin/node/$(4)/.
MODULE_FILES = mkdir -p test/bin/node/$(4) && install -C -m 644 "$$(go list -C test/cluster/binaries/$(1) -m -f '{{.Dir}}' $(2))"/$(3) test/bin/node/$(4)/

.PHONY: cluster-binaries
cluster-binaries: packages-cluster ## rarely: all that the test clusters run: Kubernetes into test/bin/kube/, a node's and its pods' programs into test/bin/node/; KUBE_BIN=folder has a ready-made Kubernetes
	@mkdir -p test/bin/kube test/bin/node/cni
	@test -x test/bin/node/operator || echo 'building Kubernetes, containerd, CoreDNS and more (ten minutes the first time)'
	@$(call NODE_BUILD,containerd,$(CONTAINERD_TAGS))
	@CGO_ENABLED=1 $(call NODE_BUILD,runc,seccomp)
	@$(call KUBE_INSTALL,$(KUBE_PROGRAMS) $(KUBE_NODE_PROGRAMS))
	@$(call NODE_BUILD,addons,,tool ./...)
	@$(call NODE_BUILD,prometheus,$(PROMETHEUS_TAGS))
	@$(call NODE_BUILD,cert-manager,,./...)
	@go build -C test/cluster -ldflags '$(LDFLAGS)' -o $(CURDIR)/test/bin/node/ ./cmd/pause ./cmd/extension
	@test -n '$(KUBE_BIN)' -a -x '$(KUBE_BIN)/etcd' || install -C "$$(command -v etcd)" test/bin/kube/
	@install -C /bin/busybox "$$(command -v prometheus-node-exporter)" test/bin/node/
	@install -C $(addprefix /usr/lib/cni/,$(CNI_PLUGINS)) test/bin/node/cni/
	@$(call MODULE_FILES,addons,github.com/prometheus-operator/prometheus-operator,example/prometheus-operator-crd/*.yaml,crds/prometheus-operator)
	@$(call MODULE_FILES,cert-manager,github.com/cert-manager/cert-manager,deploy/crds/*.yaml,crds/cert-manager)

.PHONY: cluster-up
cluster-up: need-root cluster-program ## rarely: a seed and a shoot on this machine, which stay, with the images in dist/; tells how to come to them (root); DIST=folder
	@$(MAKE) peers
	@$(MAKE) cluster-binaries
	@LAB_DIST='$(abspath $(DIST))' test/bin/cluster up

.PHONY: cluster-down
cluster-down: need-root cluster-program ## rarely: remove what make cluster-up made, also after a failed or interrupted start (root)
	@test/bin/cluster down

# Packages of this module start two clusters each, so one at a time. Tests in parallel
# mostly wait for a kubelet, which has room for more than there are cores. With SEED_KUBECONFIG
# the tests run in those of make cluster-up.
.PHONY: e2e-cluster
e2e-cluster: need-root packages-test ## rarely: everything in two whole clusters, with the release in dist/ (root); TESTS=regexp picks some, DIST=folder has another release
	@$(MAKE) tools
	@$(MAKE) peers
	@$(MAKE) helm
	@$(MAKE) cluster-binaries
	cd test/cluster && REQUIRE_ROOT=$(REQUIRE_ROOT) $(LAB_FOLDERS) LAB_DIST='$(abspath $(DIST))' $(call GOTESTSUM,testname) -p 1 -parallel 6 -count=1 -timeout 30m $(if $(TESTS),-run '$(TESTS)') $(GO_TEST_FLAGS) ./...

.PHONY: bench-alternatives
bench-alternatives: need-root packages-test ## rarely: the sidecar beside kube-apiserver's proxy and kubectl port-forward, in two whole clusters, with the release in dist/ (root; 8 minutes); RESULTS=folder, DIST=folder
	@$(MAKE) peers
	@$(MAKE) helm
	@$(MAKE) cluster-binaries
	cd test/cluster && $(LAB_FOLDERS) LAB_DIST='$(abspath $(DIST))' RESULTS='$(abspath $(RESULTS))' go test -run '^$$' -bench '^BenchmarkAlternatives$$' -benchtime 1x -timeout 20m $(GO_TEST_FLAGS) ./e2e

.PHONY: test-kube
test-kube: packages-test ## rarely: the webhook and its chart against a real kube-apiserver and etcd; KUBE_BIN=folder has ready-made ones
	@$(MAKE) tools
	@$(MAKE) helm
	@$(MAKE) kube
	@$(MAKE) build
	cd test/kube && REQUIRE_ROOT=$(REQUIRE_ROOT) $(LAB_FOLDERS) $(call GOTESTSUM,testname) -p 1 -parallel 3 -count=1 -timeout 20m $(GO_TEST_FLAGS) ./...

.PHONY: images
images: need-root packages-images ## release: the four images for both platforms, as OCI archives in dist/images/ (root); VERSION=, REGISTRY=, DIST=folder
	@VERSION='$(VERSION)' REGISTRY='$(REGISTRY)' IMAGES_DIST='$(DIST)/images' images/build

.PHONY: images-lock
images-lock: need-root packages-images ## release: pin the newest Debian packages of init-redirect, in images/packages.lock (root)
	@VERSION='$(VERSION)' images/build lock

.PHONY: quickstart-images
quickstart-images: packages-build ## release: upstream's proxy-server and agent as images, for docs/quickstart.md, into dist/quickstart/; DIST=folder
	@$(MAKE) peers
	@go run -C test/cluster ./cmd/quickstart-images --binaries $(CURDIR)/test/bin --manifests $(CURDIR)/docs/quickstart --out '$(abspath $(DIST))/quickstart'

# These images have their own folder, because dist/ may hold a real release.
.PHONY: test-images
test-images: need-root packages-test packages-images tools ## release: the images: what is in them, that a second build is the same, that they work and load (root)
	@IMAGES_DIST=test/bin/images VERSION='$(VERSION)' REGISTRY='$(REGISTRY)' images/build
	@mkdir -p test/bin/node
	@$(call NODE_BUILD,containerd,$(CONTAINERD_TAGS))
	cd test/images && REQUIRE_ROOT=$(REQUIRE_ROOT) IMAGES_DIST=$(CURDIR)/test/bin/images $(call GOTESTSUM,testname) -count=1 -timeout 20m $(GO_TEST_FLAGS) ./...

.PHONY: load-kind
load-kind: ## release: put the images into a kind cluster; KIND_CLUSTER=name, DIST=folder
	@IMAGES_DIST='$(DIST)/images' KIND_CLUSTER='$(KIND_CLUSTER)' images/load kind

.PHONY: load-k3s
load-k3s: ## release: put the images into k3s on this machine (root); K3S='ssh NODE sudo k3s' reaches another; DIST=folder
	@IMAGES_DIST='$(DIST)/images' K3S='$(K3S)' images/load k3s

.PHONY: demo
demo: need-root ## daily: an unmodified curl and Prometheus reach a cluster through the sidecar (root); EXIT=1 shows what an exit in the shoot adds, KEEP=1 leaves it standing
	@$(MAKE) -j2 packages-demo go-demo
	@test/bin/demo $(if $(filter-out 0,$(EXIT)),--exit) $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: demo-down
demo-down: packages-build ## daily: remove what make demo KEEP=1 left standing (root)
	@go build -C test -ldflags '$(LDFLAGS)' -o bin/ ./cmd/demo
	@test/bin/demo down

.PHONY: clean
clean: ## daily: remove everything that was built
	rm -rf bin dist test/bin

# --- steps of the targets above ---

.PHONY: need-root
need-root:
	@[ -n "$(ROOT)" ] || { echo 'this makes namespaces: run it as root, or with sudo' >&2; exit 1; }

.PHONY: packages-build packages-test packages-demo packages-cluster packages-images packages-browser
packages-build packages-test packages-demo packages-cluster packages-images packages-browser: packages-%:
	@test/setup $*
# Two installations at the same time would wait for each other.
packages-browser: packages-test

.PHONY: tools
tools:
	@mkdir -p $(TOOLS)
	@go build -C test/tools -o ../bin/tools/ tool

.PHONY: units
units: packages-build tools
	@GO_TEST_FLAGS='$(GO_TEST_FLAGS)' test/units $(TOOLS)

.PHONY: cluster-program
cluster-program: packages-build
	@mkdir -p test/bin
	@go build -C test/cluster -ldflags '$(LDFLAGS)' -o $(CURDIR)/test/bin/ ./cmd/cluster

# The programs of a release. Their names have the platform. kubectl's plugin runs on people's
# machines, so there is one for macOS too.
PLUGIN_PLATFORMS := linux-amd64 linux-arm64 darwin-amd64 darwin-arm64
.PHONY: binaries
binaries:
	@mkdir -p '$(DIST)/bin'
	@program() { GOOS=$${2%-*} GOARCH=$${2#*-} go build -C "$$1" -tags $(PROGRAM_TAGS) -ldflags '$(LDFLAGS) -X main.version=$(VERSION)' -o '$(abspath $(DIST))/bin/'"$${1##*/}-$$2" .; }; \
		for arch in amd64 arm64; do for folder in cmd/proxy-client cmd/proxy-exit cmd/init-redirect webhook/cmd/webhook; do program "$$folder" "linux-$$arch"; done; done; \
		for platform in $(PLUGIN_PLATFORMS); do program webhook/cmd/kubectl-shoot_proxy "$$platform"; done

.PHONY: syft
syft:
	@mkdir -p test/bin/tools-release
	@test -x test/bin/tools-release/syft || echo 'building syft, which lists what images are made of (two minutes the first time)'
	@go build -C test/release -ldflags '$(LDFLAGS)' -o ../bin/tools-release/ tool

.PHONY: peers
peers:
	@mkdir -p test/bin
	@test -x test/bin/server || echo 'building the upstream server and agent (two minutes the first time)'
	@go build -C test/upstream -ldflags '$(LDFLAGS)' -o ../bin/ tool
	@go build -C test -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

# The programs that write the rules of service meshes. Both meshes' modules are large, but
# these programs need little of them.
.PHONY: meshes
meshes:
	@mkdir -p test/bin/meshes
	@go build -C test/meshes -ldflags '$(LDFLAGS)' -o ../bin/meshes/ tool ./...

# axe-core comes from npm, and nothing of it is in this repository.
.PHONY: axe
axe:
	@test/browser/axe test/bin/axe

# One build after the other, because parallel builds compile the same packages twice. The
# installation of packages runs at the same time.
.PHONY: go-demo go-test go-browser
go-demo:
	@$(MAKE) peers
	@$(MAKE) build
go-test:
	@$(MAKE) tools
	@$(MAKE) peers
	@$(MAKE) meshes
	@$(MAKE) build
go-browser:
	@$(MAKE) tools
	@$(MAKE) peers
	@$(MAKE) build

# Compares our reading of an EgressSelectorConfiguration with kube-apiserver's.
.PHONY: test-egressselector
test-egressselector:
	cd test/egressselector && $(call GOTESTSUM,pkgname) $(GO_TEST_FLAGS) ./...

# Checks documented configurations against the APIs of Istio and Envoy.
.PHONY: test-gateways
test-gateways:
	cd test/gateways && $(call GOTESTSUM,pkgname) $(GO_TEST_FLAGS) ./...

# Each benchmark once, so that a broken one is noticed. Only packages with benchmarks are linked.
BENCHMARKED = $$(go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package folder; do ! grep -qs '^func Benchmark' "$$folder"/*_test.go || echo "$$package"; done)
.PHONY: test-bench-micro
test-bench-micro:
	@$(call EACH_MODULE,go test -run '^$$' -bench . -benchtime 1x $(GO_TEST_FLAGS) $(BENCHMARKED)) | { grep '^Benchmark\|^FAIL\|^---\|^panic\|^    ' || true; }

# The race detector stays out of the end-to-end tests: they hash gigabytes. One
# package at a time, for two labs at once make each other slow. Tests that mostly wait
# say so by t.Parallel, and run side by side: four of them for each of two cores.
.PHONY: test-e2e
test-e2e: helm
	cd test && REQUIRE_ROOT=$(REQUIRE_ROOT) $(LAB_FOLDERS) $(call GOTESTSUM,testname) -p 1 -parallel 8 -count=1 -timeout 20m $(GO_TEST_FLAGS) ./...
