// The status page in a real browser. It is a module of its own, because its tests need
// Chromium.
module github.com/shoot-proxy/proxy-client/test/browser

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/shoot-proxy/proxy-client v0.0.0
	github.com/shoot-proxy/proxy-client/test v0.0.0
)

require (
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace (
	github.com/shoot-proxy/proxy-client => ../..
	github.com/shoot-proxy/proxy-client/test => ..
)
