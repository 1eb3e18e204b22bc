// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// identity is a self-signed certificate and its key, as PEM.
type identity struct {
	name      string
	cert, key []byte
}

// newIdentity returns an identity that is valid between two times, counted from now.
func newIdentity(t *testing.T, name string, from, to time.Duration) identity {
	t.Helper()
	pair := certtest.SelfSigned(t, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
	})
	return identity{name, pair.CertPEM(), pair.KeyPEM(t)}
}

// volume is a folder with TLS files, and the Files that reads it.
type volume struct {
	t      *testing.T
	dir    string
	log    bytes.Buffer
	expiry []float64 // of the client's certificate in use, in Unix time; empty before the first
	*Files
}

// newVolume returns a volume with the files of a client and a CA.
func newVolume(t *testing.T, client, ca identity) *volume {
	t.Helper()
	v := &volume{t: t, dir: t.TempDir()}
	v.write("ca.crt", ca.cert)
	v.write("client.crt", client.cert)
	v.write("client.key", client.key)
	v.read(tunnel.TLS{CAFile: v.path("ca.crt"), CertFile: v.path("client.crt"), KeyFile: v.path("client.key")})
	return v
}

// read makes Files for other names.
func (v *volume) read(files tunnel.TLS) {
	v.Files = New(files, tunnel.SettingNames{}, slog.New(slog.NewTextHandler(&v.log, nil)), func(role Role, c *x509.Certificate) {
		if role == RoleClient {
			v.expiry = []float64{float64(c.NotAfter.Unix())}
		}
	})
}

func (v *volume) path(name string) string { return filepath.Join(v.dir, name) }

func (v *volume) write(name string, data []byte) {
	v.t.Helper()
	must(v.t, os.WriteFile(v.path(name), data, 0o600))
}

// wantUsed checks whose certificate and CA the next handshake would use.
func (v *volume) wantUsed(when string, client, ca identity) {
	v.t.Helper()
	cfg, err := v.Config()
	must(v.t, err)
	if got := cfg.Certificates[0].Leaf.Subject.CommonName; got != client.name {
		v.t.Errorf("%s: the next handshake presents the certificate %q, want %q; log:\n%s", when, got, client.name, &v.log)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.cert)
	if !cfg.RootCAs.Equal(pool) {
		v.t.Errorf("%s: the next handshake does not trust %q; log:\n%s", when, ca.name, &v.log)
	}
}

// wantLogged checks how often words are in the log.
func (v *volume) wantLogged(times int, words string) {
	v.t.Helper()
	if got := strings.Count(v.log.String(), words); got != times {
		v.t.Errorf("the log says %q %d times, want %d:\n%s", words, got, times, &v.log)
	}
}

// Parts of what is logged about the files.
const (
	refusedFiles = "the ones read before stay in use"
	newFiles     = "new connections use the new ones"
	formerFiles  = "these TLS files can be used again; their content is the one in use"
)

// TestAHalfWrittenPairIsTriedAgain: while a certificate is there without its key, the
// old pair stays in use. The new pair is used once it is complete.
func TestAHalfWrittenPairIsTriedAgain(t *testing.T) {
	old, next, ca := newIdentity(t, "old", -time.Hour, time.Hour), newIdentity(t, "next", -time.Hour, time.Hour), newIdentity(t, "CA", -time.Hour, time.Hour)
	for _, order := range [][2]string{{"client.crt", "client.key"}, {"client.key", "client.crt"}} {
		t.Run(order[0]+" first", func(t *testing.T) {
			v := newVolume(t, old, ca)
			v.wantUsed("at first", old, ca)
			halves := map[string][]byte{"client.crt": next.cert, "client.key": next.key}
			v.write(order[0], halves[order[0]])
			v.wantUsed("after half of the swap", old, ca)
			v.wantUsed("still", old, ca)
			v.wantLogged(1, refusedFiles)
			v.write(order[1], halves[order[1]])
			v.wantUsed("after the other half", next, ca)
			v.wantLogged(1, newFiles)
		})
	}
}

// TestBadFilesAreNamedByTheirSettings: an error names each file and its setting.
func TestBadFilesAreNamedByTheirSettings(t *testing.T) {
	ca := newIdentity(t, "CA", -time.Hour, time.Hour)
	v := newVolume(t, ca, ca)
	v.write("bad", []byte("not PEM"))
	good, bad := v.path("ca.crt"), v.path("bad")
	for _, tt := range []struct {
		files tunnel.TLS
		want  string
	}{
		{tunnel.TLS{CAFile: bad}, fmt.Sprintf("CA %q: ", bad)},
		{tunnel.TLS{CAFile: good, CertFile: bad, KeyFile: good}, fmt.Sprintf("CERT %q, KEY %q: ", bad, good)},
	} {
		names := tunnel.SettingNames{CACert: "CA", ClientCert: "CERT", ClientKey: "KEY"}
		files := New(tt.files, names, slog.New(slog.DiscardHandler), func(Role, *x509.Certificate) {})
		if _, err := files.Config(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("the error is %v, want it to begin with %s", err, tt.want)
		}
	}
}

// TestABrokenPairDoesNotKeepTheOldCA: a new CA is used although the client's new pair
// is broken, and a new pair although the CA is.
func TestABrokenPairDoesNotKeepTheOldCA(t *testing.T) {
	first, second := newIdentity(t, "first", -time.Hour, time.Hour), newIdentity(t, "second", -time.Hour, time.Hour)
	t.Run("broken pair", func(t *testing.T) {
		v := newVolume(t, first, first)
		v.wantUsed("at first", first, first)
		v.write("client.key", []byte("nonsense"))
		v.write("ca.crt", second.cert)
		v.wantUsed("after the change", first, second)
		v.wantLogged(1, refusedFiles)
	})
	t.Run("broken CA", func(t *testing.T) {
		v := newVolume(t, first, first)
		v.wantUsed("at first", first, first)
		v.write("ca.crt", []byte("nonsense"))
		v.write("client.key", second.key)
		v.write("client.crt", second.cert)
		v.wantUsed("after the change", second, first)
		v.wantLogged(1, refusedFiles)
	})
	t.Run("files gone", func(t *testing.T) {
		v := newVolume(t, first, first)
		v.wantUsed("at first", first, first)
		must(t, os.Remove(v.path("ca.crt")))
		v.wantUsed("without the CA's file", first, first)
		v.wantLogged(1, refusedFiles)
	})
}

// TestTheLogSaysWhichFilesAreInUse: a line about new content names its files, and not one that
// could not be used. There is a line too if a file has its former content again.
func TestTheLogSaysWhichFilesAreInUse(t *testing.T) {
	first, second := newIdentity(t, "first", -time.Hour, time.Hour), newIdentity(t, "second", -time.Hour, time.Hour)
	v := newVolume(t, first, first)
	v.wantUsed("at first", first, first)
	v.write("ca.crt", nil)
	v.write("client.key", second.key)
	v.write("client.crt", second.cert)
	v.wantUsed("after the change", second, first)
	v.wantLogged(1, newFiles)
	v.wantLogged(1, fmt.Sprintf("%s\" files=\"[%s %s]\"\n", newFiles, v.path("client.crt"), v.path("client.key")))
	v.wantLogged(0, formerFiles)
	v.write("ca.crt", first.cert)
	v.wantUsed("after the CA is back", second, first)
	v.wantUsed("still", second, first)
	v.wantLogged(1, fmt.Sprintf("%s\" files=[%s]\n", formerFiles, v.path("ca.crt")))
	v.write("ca.crt", []byte("nonsense"))
	v.wantUsed("after another fault", second, first)
	v.write("ca.crt", second.cert)
	v.wantUsed("after a new CA", second, second)
	v.wantLogged(1, fmt.Sprintf("%s\" files=[%s]\n", newFiles, v.path("ca.crt")))
	v.wantLogged(1, formerFiles)
}

// TestAPipeInTheFilesPlace: files that are replaced by a named pipe or a device are refused at
// once, and those before stay in use.
func TestAPipeInTheFilesPlace(t *testing.T) {
	id := newIdentity(t, "only", -time.Hour, time.Hour)
	v := newVolume(t, id, id)
	v.wantUsed("at first", id, id)
	must(t, os.Remove(v.path("ca.crt")))
	must(t, unix.Mkfifo(v.path("ca.crt"), 0o600))
	v.wantUsed("with a pipe", id, id)
	v.wantLogged(1, "it is a named pipe")
	must(t, os.Remove(v.path("client.crt")))
	must(t, os.Symlink("/dev/zero", v.path("client.crt")))
	v.wantUsed("with a device", id, id)
	v.wantLogged(1, "it is a device")
}

// TestTheSameFilesAgainAreNoChange: a touch of the files does not make new connections
// to the servers.
func TestTheSameFilesAgainAreNoChange(t *testing.T) {
	id := newIdentity(t, "only", -time.Hour, time.Hour)
	v := newVolume(t, id, id)
	v.wantUsed("at first", id, id)
	before := v.Version()
	must(t, os.Chtimes(v.path("client.crt"), time.Time{}, time.Now().Add(time.Minute)))
	v.wantUsed("after a touch", id, id)
	if after := v.Version(); after != before {
		t.Errorf("the files are version %d after %d, and nothing in them has changed", after, before)
	}
	v.wantLogged(0, newFiles)
}

// TestKubernetesSwap: each file is a link into ..data, which is a link to a folder.
// kubelet makes a new folder, renames a new link to ..data, and removes the old folder
// (AtomicWriter of pkg/volume/util).
func TestKubernetesSwap(t *testing.T) {
	old, next := newIdentity(t, "old", -time.Hour, time.Hour), newIdentity(t, "next", -time.Hour, time.Hour)
	v := &volume{t: t, dir: t.TempDir()}
	publish := func(name string, id identity) {
		must(t, os.Mkdir(v.path(name), 0o700))
		v.write(name+"/ca.crt", id.cert)
		v.write(name+"/tls.crt", id.cert)
		v.write(name+"/tls.key", id.key)
		must(t, os.Symlink(name, v.path("..data_tmp")))
		must(t, os.Rename(v.path("..data_tmp"), v.path("..data")))
	}
	publish("..2026_01_01", old)
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		must(t, os.Symlink("..data/"+name, v.path(name)))
	}
	v.read(tunnel.TLS{CAFile: v.path("ca.crt"), CertFile: v.path("tls.crt"), KeyFile: v.path("tls.key")})
	v.wantUsed("at first", old, old)
	publish("..2026_01_02", next)
	must(t, os.RemoveAll(v.path("..2026_01_01")))
	v.wantUsed("after kubelet's swap", next, next)
	v.wantLogged(0, refusedFiles)
	v.wantLogged(1, newFiles)
}

// TestAnExpiredPairReplacesOnlyAnExpiredOne: content that is not valid now is used only
// if there is nothing better.
func TestAnExpiredPairReplacesOnlyAnExpiredOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newIdentity(t, "CA", -time.Hour, 100*time.Hour)
		old, stale, future := newIdentity(t, "old", -time.Hour, 10*time.Hour), newIdentity(t, "stale", -2*time.Hour, -time.Hour), newIdentity(t, "future", time.Hour, 20*time.Hour)
		swap := func(v *volume, id identity) {
			v.write("client.key", id.key)
			v.write("client.crt", id.cert)
		}
		v := newVolume(t, old, ca)
		v.wantUsed("at first", old, ca)
		swap(v, stale)
		v.wantUsed("after an expired pair", old, ca)
		v.wantLogged(1, "expired on")
		swap(v, future)
		v.wantUsed("after a pair that is not valid yet", old, ca)
		v.wantLogged(1, "is not valid before")
		time.Sleep(2 * time.Hour)
		v.wantUsed("once it is valid", future, ca)
		swap(v, stale)
		v.wantUsed("after an expired pair", future, ca)
		time.Sleep(20 * time.Hour)
		v.wantUsed("once the one in use has expired too", stale, ca)
		swap(v, old)
		v.wantUsed("after another expired pair", old, ca)
	})
}
