// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shoot-proxy/proxy-client/test/cluster/node"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// State is what other programs need to know of running clusters. It is in a file in the
// clusters' folder once they are ready.
type State struct {
	// Binaries is the folder of [Options].
	Binaries string `json:"binaries"`
	// SeedKubeconfig and ShootKubeconfig are paths of files.
	SeedKubeconfig  string `json:"seedKubeconfig"`
	ShootKubeconfig string `json:"shootKubeconfig"`
	// Seed and Shoot are the nodes.
	Seed  node.Handle `json:"seed"`
	Shoot node.Handle `json:"shoot"`
	// Konnectivity has the certificates for clients of the proxy-servers.
	Konnectivity shoot.Konnectivity `json:"konnectivity"`
}

// stateFile is the name of the file.
const stateFile = "state.json"

func (c *Clusters) writeState(binaries string) error {
	text, err := json.MarshalIndent(State{
		Binaries: binaries, SeedKubeconfig: c.SeedKubeconfig(), ShootKubeconfig: c.ShootKubeconfig(),
		Seed: c.Seed.Node.Handle, Shoot: c.Shoot.Node.Handle, Konnectivity: *c.Shoot.Konnectivity,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Dir, stateFile), append(text, '\n'), 0o600)
}

// LoadState reads the state of the clusters to which a kubeconfig file belongs.
func LoadState(kubeconfig string) (*State, error) {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(kubeconfig), stateFile))
	if err != nil {
		return nil, fmt.Errorf("%s is no kubeconfig file of clusters that `make cluster-up` made, or they are gone: %w", kubeconfig, err)
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read the state of the clusters of %s: %w", kubeconfig, err)
	}
	return &s, nil
}
