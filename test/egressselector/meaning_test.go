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

// connection is one way to reach a server. It has the values in a file, by the path of
// each field, and the expected configuration.
type connection struct {
	name   string
	fields map[string]string
	server tunnel.Server
	tls    tunnel.TLS
}

// connections set every field together. TestEveryFieldMeansTheSame fails if Kubernetes
// adds one that is not here.
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

// TestEveryFieldMeansTheSame: Kubernetes' own types write the files, and our code reads
// them.
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
		// This is the other half of the proof: no field was left out.
		if diff := cmp.Diff(theirFields(v.config), set); diff != "" {
			t.Errorf("the connections of this test do not set the fields of %s (-k8s.io/apiserver +this test):\n%s", v.name, diff)
		}
	}
}

// fileOf returns the connection as a file of that version.
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

// fill sets the leaves that values names. A pointer stays nil if values names no leaf
// below it.
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

// TestUnknownFieldsAreRefusedAtEveryLevel: strict means strict at every level. If one
// level skipped a typing error, a setting would silently have no effect.
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

// objects returns the objects of a JSON document by their paths.
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
