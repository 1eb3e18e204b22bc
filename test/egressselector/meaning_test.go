// SPDX-License-Identifier: Apache-2.0

package egressselector

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// connection is one way to reach a server: what a file says of it, by the path
// of each field, and what that has to come to.
type connection struct {
	name   string
	fields map[string]string
	server tunnel.Server
	tls    tunnel.TLS
}

// Together these set every field that there is; TestEveryFieldMeansTheSame
// fails when Kubernetes adds one that is not here.
func connections() []connection {
	const transport = "egressSelections[].connection.transport"
	return []connection{{
		name: "HTTP CONNECT over TCP",
		fields: map[string]string{
			"kind":                    "EgressSelectorConfiguration",
			"egressSelections[].name": "cluster",
			"egressSelections[].connection.proxyProtocol": "HTTPConnect",
			transport + ".tcp.url":                        "https://proxy-server.example:8131",
			transport + ".tcp.tlsConfig.caBundle":         "ca.crt",
			transport + ".tcp.tlsConfig.clientCert":       "client.crt",
			transport + ".tcp.tlsConfig.clientKey":        "client.key",
			transport + ".tcp.tlsConfig.tlsServerName":    "name-in-certificate.example",
		},
		server: tunnel.Server{
			Name: "proxy-server.example:8131", Network: "tcp",
			Address: "proxy-server.example:8131", Mode: tunnel.ModeHTTPConnect,
		},
		tls: tunnel.TLS{CAFile: "ca.crt", CertFile: "client.crt", KeyFile: "client.key", ServerName: "name-in-certificate.example"},
	}, {
		name: "gRPC over a Unix socket",
		fields: map[string]string{
			"kind":                    "EgressSelectorConfiguration",
			"egressSelections[].name": "cluster",
			"egressSelections[].connection.proxyProtocol": "GRPC",
			transport + ".uds.udsName":                    "/run/server.sock",
		},
		server: tunnel.Server{
			Name: "unix:///run/server.sock", Network: "unix",
			Address: "/run/server.sock", Mode: tunnel.ModeGRPC,
		},
	}}
}

// The files are made by Kubernetes' own types, and read by us.
func TestEveryFieldMeansTheSame(t *testing.T) {
	inFolderWithCertificates(t)
	for _, v := range versions() {
		set := map[string]string{}
		for _, c := range connections() {
			for format, marshal := range map[string]func(any) ([]byte, error){"YAML": yaml.Marshal, "JSON": json.Marshal} {
				text := fileOf(t, c, v, marshal)
				t.Run(fmt.Sprintf("%s as %s of %s", c.name, format, v.name), func(t *testing.T) { checkMeaning(t, c, string(text)) })
			}
			for path := range c.fields {
				set[path] = "string"
			}
		}
		// The other half of the proof: no field was left out.
		if diff := cmp.Diff(theirFields(v.config), set); diff != "" {
			t.Errorf("the connections of this test do not set the fields of %s (-k8s.io/apiserver +this test):\n%s", v.name, diff)
		}
	}
}

// fileOf is the connection in a file of that version.
func fileOf(t *testing.T, c connection, v version, marshal func(any) ([]byte, error)) []byte {
	t.Helper()
	c.fields["apiVersion"] = v.name
	document := reflect.New(v.config).Elem()
	fill(document, "", c.fields)
	text, err := marshal(document.Interface())
	if err != nil {
		t.Fatalf("write a file of %s: %v", v.name, err)
	}
	return text
}

func checkMeaning(t *testing.T, c connection, text string) {
	t.Helper()
	if err := theirVerdict(t, text); err != nil {
		t.Fatalf("kube-apiserver refuses the file, so it proves nothing: %v\n%s", err, text)
	}
	cfg, err := ourConfig(t, text)
	if err != nil {
		t.Fatalf("kube-apiserver takes the file, we do not: %v\n%s", err, text)
	}
	if diff := cmp.Diff([]tunnel.Server{c.server}, cfg.Servers); diff != "" {
		t.Errorf("the file leads to another server (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.tls, cfg.TLS); diff != "" {
		t.Errorf("the file leads to another handshake (-want +got):\n%s", diff)
	}
}

// fill sets the leaves that values names. A pointer below which it names
// nothing stays nil.
func fill(v reflect.Value, path string, values map[string]string) {
	switch v.Kind() {
	case reflect.Pointer:
		for name := range values {
			if strings.HasPrefix(name, path+".") {
				v.Set(reflect.New(v.Type().Elem()))
				fill(v.Elem(), path, values)
				return
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), path+"[]", values)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), below(path, jsonName(v.Type().Field(i))), values)
		}
	case reflect.String:
		v.SetString(values[path])
	}
}

// Strict means strict at every level: a typing error that is skipped at one of
// them would be a setting that silently does not hold.
func TestUnknownFieldsAreRefusedAtEveryLevel(t *testing.T) {
	inFolderWithCertificates(t)
	for _, v := range versions() {
		for _, c := range connections() {
			var document any
			if err := json.Unmarshal(fileOf(t, c, v, json.Marshal), &document); err != nil {
				t.Fatal(err)
			}
			for path, object := range objects(document, "the document") {
				object["unheardOf"] = "x"
				text, err := yaml.Marshal(document)
				if err != nil {
					t.Fatal(err)
				}
				delete(object, "unheardOf")
				if err := theirVerdict(t, string(text)); err == nil || !strings.Contains(err.Error(), "unheardOf") {
					t.Errorf("kube-apiserver does not refuse an unknown field of %s by its name: %v", path, err)
				}
				if _, err := ourConfig(t, string(text)); err == nil || !strings.Contains(err.Error(), "unknown field unheardOf") {
					t.Errorf("we do not refuse an unknown field of %s by its name: %v", path, err)
				}
			}
		}
	}
}

// objects returns the objects of a JSON document by where they are.
func objects(value any, path string) map[string]map[string]any {
	found := map[string]map[string]any{}
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			maps.Copy(found, objects(element, path+"[]"))
		}
	case map[string]any:
		found[path] = value
		for name, field := range value {
			maps.Copy(found, objects(field, path+"."+name))
		}
	}
	return found
}
