// SPDX-License-Identifier: Apache-2.0

package control

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Names of the files in the folder of the credentials:
const (
	CAFile             = "ca.crt"
	servingCert        = "serving.crt"
	servingKey         = "serving.key"
	serviceAccountCert = "service-accounts.crt"
	serviceAccountKey  = "service-accounts.key"
	kubeletClientCert  = "kubelet-client.crt"
	kubeletClientKey   = "kubelet-client.key"
	tokensFile         = "tokens.csv"
	KubeconfigFile     = "components.kubeconfig"
)

// KubeletClient is the user as which kube-apiserver connects to a kubelet: the name in
// its certificate.
const KubeletClient = "lab-kubelet-client"

// User is the uid of the programs of a control plane, except for etcd in the seed. They
// have many inotify instances, of which the kernel gives each user 128 by default.
const User = 65532

// Credentials are what the programs of a control plane use to authenticate each other.
type Credentials struct {
	// Dir is the folder with all of them.
	Dir string
	// CA has signed all certificates of the cluster.
	CA *lab.Authority
	// Token belongs to the group system:masters, which may do everything.
	Token string
}

// NewCredentials makes them in a folder, which exists. The addresses and names are those
// at which clients reach kube-apiserver.
func NewCredentials(dir string, addresses []netip.Addr, names []string) (*Credentials, error) {
	ca, err := lab.NewAuthority(dir, "ca")
	if err != nil {
		return nil, err
	}
	c := &Credentials{Dir: dir, CA: ca, Token: rand.Text()}
	for _, name := range []string{"service-accounts", "kubelet-client"} {
		if _, _, err := ca.Issue(name, nil, nil); err != nil {
			return nil, err
		}
	}
	if _, _, err := ca.Issue("serving", addresses, names); err != nil {
		return nil, err
	}
	// token,user,uid,"groups"
	text := fmt.Sprintf("%s,admin,admin,system:masters\n", c.Token)
	return c, os.WriteFile(filepath.Join(dir, tokensFile), []byte(text), 0o600)
}

// GiveToUser lets [User] read all files that are in the folder now.
func (c *Credentials) GiveToUser() error {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.Chown(filepath.Join(c.Dir, entry.Name()), User, User); err != nil {
			return err
		}
	}
	return nil
}
