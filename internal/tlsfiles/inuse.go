// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"crypto/x509"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

// InUse is a certificate of the files, as it was read last.
type InUse struct {
	Role        Role
	File        string
	Certificate *x509.Certificate // nil if the file was not read yet
	// Problem says why the certificate is not accepted, will soon not be, or is not the one
	// in the file. It is empty if all is well.
	Problem string
}

// InUse returns the certificates in use at now: those of the CA bundle, and the client's
// chain. It reads no file.
func (f *Files) InUse(now time.Time) []InUse {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []InUse
	for _, of := range []struct {
		role Role
		set  *fileSet
	}{{RoleCA, &f.roots}, {RoleClient, &f.client}} {
		if len(of.set.files) == 0 {
			continue
		}
		file := of.set.files[0]
		if of.set.current == nil {
			all = append(all, InUse{Role: of.role, File: file, Problem: "cannot be used: " + of.set.reported})
			continue
		}
		for _, certificate := range of.set.current.chain {
			is := InUse{Role: of.role, File: file, Certificate: certificate, Problem: Warning(now, certificate.NotBefore, certificate.NotAfter)}
			if of.set.reported != "" && is.Problem == "" {
				is.Problem = "the changed file cannot be used, so this one stays in use: " + clip.Text(of.set.reported, clip.Clause)
			}
			all = append(all, is)
		}
	}
	return all
}

// Warning says of a certificate's life that now is not within it, or that it soon ends. It
// is empty if all is well.
func Warning(now, notBefore, notAfter time.Time) string {
	c := &x509.Certificate{NotBefore: notBefore, NotAfter: notAfter}
	if invalid, remedy := Invalidity(c, now); invalid != "" {
		return invalid + ": " + remedy
	}
	if StageOf(c, now) >= IsUrgent {
		return "expires soon, on " + notAfter.UTC().Format(time.RFC3339) + ": renew it"
	}
	return ""
}
