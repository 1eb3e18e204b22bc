// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/rand"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// tokens are those that kube-apiserver knows from its file.
type tokens struct{ admin, controllerManager string }

func writeTokens(path string) (tokens, error) {
	t := tokens{admin: rand.Text(), controllerManager: rand.Text()}
	// token,user,uid,groups
	text := fmt.Sprintf("%s,admin,admin,system:masters\n%s,system:kube-controller-manager,kube-controller-manager,\n", t.admin, t.controllerManager)
	return t, os.WriteFile(path, []byte(text), 0o600)
}

// Admin is the access of somebody who may do everything, as fast as it goes.
func (c *Cluster) Admin() *rest.Config { return c.Config(c.tokens.admin) }

// Config is the access of whoever has the token.
func (c *Cluster) Config(token string) *rest.Config {
	return &rest.Config{
		Host:            c.address,
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.ca.File},
		QPS:             -1,
	}
}

// AdminKubeconfig writes a kubeconfig file of [Cluster.Admin] and returns its path.
func (c *Cluster) AdminKubeconfig() (string, error) { return c.Kubeconfig("admin", c.tokens.admin) }

// Kubeconfig writes a kubeconfig file for whoever has the token and returns its path,
// which is made of name.
func (c *Cluster) Kubeconfig(name, token string) (string, error) {
	config := api.NewConfig()
	config.Clusters["cluster"] = &api.Cluster{Server: c.address, CertificateAuthority: c.ca.File}
	config.AuthInfos[name] = &api.AuthInfo{Token: token}
	config.Contexts["cluster"] = &api.Context{Cluster: "cluster", AuthInfo: name}
	config.CurrentContext = "cluster"
	path := c.path(name + ".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return path, nil
}
