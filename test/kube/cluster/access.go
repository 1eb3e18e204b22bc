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

// tokens are the tokens in kube-apiserver's token file.
type tokens struct{ admin, controllerManager string }

func writeTokens(path string) (tokens, error) {
	t := tokens{admin: rand.Text(), controllerManager: rand.Text()}
	// token,user,uid,groups
	text := fmt.Sprintf("%s,admin,admin,system:masters\n%s,system:kube-controller-manager,kube-controller-manager,\n", t.admin, t.controllerManager)
	return t, os.WriteFile(path, []byte(text), 0o600)
}

// Admin returns access with all rights and without a client-side rate limit.
func (c *Cluster) Admin() *rest.Config { return c.Config(c.tokens.admin) }

// Config returns the access that a token gives.
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

// Kubeconfig writes a kubeconfig file with a token. It returns the file's path, which is
// made from name.
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
