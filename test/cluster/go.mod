// Two whole clusters on this machine, for the tests of the install. It is a module of
// its own, so that what it needs stays out of the others.
module github.com/shoot-proxy/proxy-client/test/cluster

go 1.26.0

require (
	github.com/google/go-containerregistry v0.22.1
	golang.org/x/sync v0.22.0
)

require (
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

require (
	github.com/klauspost/compress v1.19.2 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	github.com/shoot-proxy/proxy-client/test v0.0.0
)

replace github.com/shoot-proxy/proxy-client/test => ..
