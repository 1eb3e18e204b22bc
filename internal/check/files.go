// SPDX-License-Identifier: Apache-2.0

package check

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/regularfile"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
)

// tlsFiles is what the files of the configuration have.
type tlsFiles struct {
	steps      []report.Step
	ca, client []*x509.Certificate
}

// failed reports whether no handshake can succeed with the files.
func (f tlsFiles) failed() bool { return anyFailed(f.steps) }

func anyFailed(steps []report.Step) bool {
	for _, s := range steps {
		if s.Result == report.Failure {
			return true
		}
	}
	return false
}

// files looks at the TLS files.
func (c *checker) files() tlsFiles {
	var f tlsFiles
	if !c.TLS.Enabled() {
		return tlsFiles{steps: []report.Step{{Name: report.StepFiles, Result: report.Skipped, Found: "there are none: every server is a Unix socket, without TLS"}}}
	}
	step := report.Step{Name: report.StepFiles, Result: report.OK}
	bundle, err := regularfile.Read(c.TLS.CAFile)
	f.ca = parse(bundle)
	if err == nil {
		err = tlsfiles.CheckCA(bundle, c.now())
	}
	f.steps = append(f.steps, c.judgeFile(step, c.Names.CACert, c.TLS.CAFile, "CA", f.ca, err))
	if c.TLS.CertFile == "" {
		step.Found = fmt.Sprintf("no client certificate is given (%s). Most servers on TCP want one", c.Names.ClientCert)
		f.steps = append(f.steps, step)
		return f
	}
	pair, err := regularfile.Read(c.TLS.CertFile)
	f.client = parse(pair)
	ofKey := false
	if err == nil {
		var key []byte
		key, err = regularfile.Read(c.TLS.KeyFile)
		ofKey = err != nil
		if err == nil {
			err = tlsfiles.CheckPair(pair, key, c.now())
			problem, is := errors.AsType[*tlsfiles.Problem](err)
			ofKey = is && problem.Key
		}
	}
	if ofKey {
		step.Certificates = describeAll(f.client)
		f.steps = append(f.steps, unusable(step, c.Names.ClientKey+" "+c.TLS.KeyFile, err))
		return f
	}
	f.steps = append(f.steps, c.judgeFile(step, c.Names.ClientCert, c.TLS.CertFile, "client certificate", f.client, err))
	return f
}

// judgeFile completes a step about one file. what is what the file should have, and chain
// what was found in it. err is what makes it useless.
func (c *checker) judgeFile(step report.Step, setting, file, what string, chain []*x509.Certificate, err error) report.Step {
	step.Certificates = describeAll(chain)
	all := len(chain)
	if err == nil {
		// Old CAs in a bundle do no harm beside one that is valid.
		chain = c.validNow(chain)
	}
	about := fmt.Sprintf("%s %s", setting, file)
	worst := valid
	for _, cert := range chain {
		if v := validityAt(cert, c.now()); v > worst {
			worst = v
		}
	}
	switch {
	case err != nil && len(chain) > 0 && (worst == expired || worst == notYetValid) && !errors.Is(err, tlsfiles.ErrNotAPair):
		step.Result, step.Cause = report.Failure, worst.cause()
		bad := firstWith(chain, worst, c)
		step.Found = fmt.Sprintf("%s: the %s %s %s", about, what, title(bad), dates(bad, c.now()))
		step.Next = "renew it in its Secret. The sidecar reads the file again by itself."
		if worst == notYetValid {
			step.Next = "set this node's clock right, or wait, or issue the certificate again"
		}
	case errors.Is(err, tlsfiles.ErrNotAPair):
		step.Result, step.Cause = report.Failure, report.CauseNotAPair
		step.Found = fmt.Sprintf("%s: %s %s is the key of another certificate", about, c.Names.ClientKey, c.TLS.KeyFile)
		step.Next = "write certificate and key of one pair into the Secret"
	case err != nil:
		return unusable(step, about, err)
	case worst == expiresSoon:
		end := firstWith(chain, worst, c)
		step.Result, step.Cause = report.Warning, report.CauseExpires
		step.Found = fmt.Sprintf("%s: %s %s %s", about, what, title(end), dates(end, c.now()))
		step.Next = "renew it in its Secret. The sidecar reads the file again by itself."
	default:
		step.Found = fmt.Sprintf("%s: %s %s %s", about, what, title(chain[0]), dates(chain[0], c.now()))
		if all > 1 {
			step.Found += fmt.Sprintf("; %d certificates in the file", all)
		}
		if not := all - len(chain); not > 0 {
			step.Found += fmt.Sprintf(", %d of them not valid now", not)
		}
	}
	return step
}

// unusable completes a step about a file that cannot be read, or has not what it should have.
func unusable(step report.Step, about string, err error) report.Step {
	step.Result, step.Cause = report.Failure, report.CauseFile
	step.Found = fmt.Sprintf("%s cannot be used: %s", about, clip.Text(err.Error(), clip.Clause))
	step.Next = "correct the file, or the Secret that it is from"
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		step.Next = "run this check in the sidecar's container, as the sidecar's user, or correct the path"
	}
	return step
}

// validNow returns the certificates that are valid now, or all of them if none is.
func (c *checker) validNow(chain []*x509.Certificate) []*x509.Certificate {
	isNot := func(cert *x509.Certificate) bool {
		v := validityAt(cert, c.now())
		return v == expired || v == notYetValid
	}
	if valid := slices.DeleteFunc(slices.Clone(chain), isNot); len(valid) > 0 {
		return valid
	}
	return chain
}

// firstWith returns the first certificate that stands like this, at least one.
func firstWith(chain []*x509.Certificate, is validity, c *checker) *x509.Certificate {
	for _, cert := range chain {
		if validityAt(cert, c.now()) == is {
			return cert
		}
	}
	return chain[0]
}

// parse returns the certificates in PEM that can be parsed.
func parse(data []byte) []*x509.Certificate {
	var all []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			all = append(all, cert)
		}
	}
	return all
}
