// SPDX-License-Identifier: Apache-2.0

// Package dns gives a cluster its name server: CoreDNS, as a Deployment and a Service.
package dns

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/test/cluster/manifest"
)

//go:embed coredns.yaml
var documents string

// Deploy makes the objects. CoreDNS runs from the image, and the Service gets the
// address.
func Deploy(ctx context.Context, config *rest.Config, image string, address netip.Addr) error {
	text := strings.NewReplacer("IMAGE", image, "ADDRESS", address.String()).Replace(documents)
	if err := manifest.Apply(ctx, config, "kube-system", text); err != nil {
		return fmt.Errorf("deploy CoreDNS: %w", err)
	}
	return nil
}
