// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
)

// containerdConfig keeps every path inside /run and /var, which are the node's own.
// Without CAP_SYS_RESOURCE a shim may not get a lower OOM score than its parent. A
// container on a build machine does not have that capability: hence
// restrict_oom_score_adj.
const containerdConfig = `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %q
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "/var/lib/containerd-registries"

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%q]
    conf_dir = "/run/node/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = %q
        SystemdCgroup = false

[plugins.'io.containerd.internal.v1.opt']
  path = "/var/opt/containerd"

[plugins.'io.containerd.nri.v1.nri']
  disable = false
  plugin_path = "/var/opt/nri/plugins"
  plugin_config_path = "/var/opt/nri/conf.d"
  socket_path = "/run/nri/nri.sock"
`

// ContainerdSocket is the path of containerd's socket inside the node.
const ContainerdSocket = "/run/containerd/containerd.sock"

func (n *Node) startContainerd(ctx context.Context) error {
	config := fmt.Sprintf(containerdConfig, n.Sandbox, Binaries+"/node/cni", Binaries+"/node/runc")
	if err := os.WriteFile(n.path("files", "containerd.toml"), []byte(config), 0o644); err != nil {
		return err
	}
	if err := n.writeCNI(); err != nil {
		return err
	}
	err := n.StartProgram(Program{Name: "containerd", Args: []string{Binaries + "/node/containerd", "--config", Dir + "/files/containerd.toml"}})
	if err != nil {
		return err
	}
	return n.WaitFor(ctx, "containerd", "its socket to answer", func(ctx context.Context) error {
		_, err := n.Run(ctx, "ctr", "--timeout", "2s", "version")
		return err
	})
}

// writeCNI configures that pods are connected to a bridge. Their packets have the node's
// address outside of it.
func (n *Node) writeCNI() error {
	type object = map[string]any
	config := object{
		"cniVersion": "1.0.0",
		"name":       "pods",
		"plugins": []object{
			{
				"type": "bridge", "bridge": "pods0",
				"isGateway": true, "ipMasq": true, "hairpinMode": true,
				"ipam": object{
					"type": "host-local", "dataDir": "/run/cni-networks",
					"ranges": [][]object{{{"subnet": n.Pods.String()}}},
					"routes": []object{{"dst": netip.PrefixFrom(netip.IPv4Unspecified(), 0).String()}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	if err := os.Mkdir(n.path("cni"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(n.path("cni", "10-pods.conflist"), text, 0o644)
}
