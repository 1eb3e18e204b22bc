// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"github.com/shoot-proxy/proxy-client/test/cluster"
	"github.com/shoot-proxy/proxy-client/test/cluster/seed"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

//go:embed tell.txt
var tellTemplate string

// network is what a person needs to know of a cluster's addresses.
type network struct{ Node, Pods, Services, DNS string }

// tell prints the running clusters, for a person and for a shell. All lines but the
// exports are comments.
func tell(ctx context.Context, state *cluster.State, greeting string, out io.Writer) error {
	images, err := taggedImages(ctx, state)
	if err != nil {
		return err
	}
	t, err := template.New("tell").Option("missingkey=error").Parse(tellTemplate)
	if err != nil {
		return err
	}
	err = t.Execute(out, map[string]any{
		"Greeting":     greeting,
		"State":        state,
		"Namespace":    shoot.Namespace,
		"Service":      shoot.Service,
		"Frontends":    shoot.Frontends(),
		"Konnectivity": &state.Konnectivity,
		"ServerSecret": shoot.ServerSecret,
		"CASecret":     shoot.CASecret,
		"ClientSecret": shoot.ClientSecret,
		"Shoot":        network{shoot.Address.String(), shoot.Pods.String(), shoot.Services.String(), shoot.DNS.String()},
		"Seed":         network{seed.Address.String(), seed.Pods.String(), seed.Services.String(), seed.DNS.String()},
		"Images":       images,
	})
	if err != nil {
		return fmt.Errorf("print how to come to the clusters: %w", err)
	}
	return nil
}

// taggedImages returns the images on the seed's node that have a tag, by which pods may
// name them.
func taggedImages(ctx context.Context, state *cluster.State) ([]string, error) {
	text, err := state.Seed.Run(ctx, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet")
	if err != nil {
		return nil, err
	}
	names := strings.Split(text, "\n")
	names = slices.DeleteFunc(names, func(line string) bool {
		// ctr also prints warnings, whose words are separated by spaces.
		return !strings.Contains(line, "/") || strings.ContainsAny(line, " @")
	})
	slices.Sort(names)
	return names, nil
}
