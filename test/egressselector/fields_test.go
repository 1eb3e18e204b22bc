// SPDX-License-Identifier: Apache-2.0

package egressselector

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/apis/apiserver/v1alpha1"
	"k8s.io/apiserver/pkg/apis/apiserver/v1beta1"
)

// Our struct is unexported, so its source is read. It is in the module that go.mod
// replaces with the folder above.
const (
	ourSource = "../../internal/options/egress.go"
	ourStruct = "egressSelectorConfiguration"
)

// version is an apiVersion with kube-apiserver's type for it.
type version struct {
	name   string
	config reflect.Type
}

func versions() []version {
	return []version{
		{"apiserver.k8s.io/v1alpha1", reflect.TypeFor[v1alpha1.EgressSelectorConfiguration]()},
		{"apiserver.k8s.io/v1beta1", reflect.TypeFor[v1beta1.EgressSelectorConfiguration]()},
	}
}

func TestOurStructHasTheFieldsOfKubernetes(t *testing.T) {
	ours := ourFields(t)
	for _, v := range versions() {
		if diff := cmp.Diff(theirFields(v.config), ours); diff != "" {
			t.Errorf("a file of %s that kube-apiserver takes is refused, or the other way round (-k8s.io/apiserver +%s):\n%s", v.name, ourSource, diff)
		}
	}
}

// theirFields returns the type of each leaf. Its keys are the leaves' paths in a file:
// "egressSelections[].connection.proxyProtocol" is a "string".
func theirFields(config reflect.Type) map[string]string {
	fields := map[string]string{}
	var list func(of reflect.Type, path string)
	list = func(of reflect.Type, path string) {
		switch of.Kind() {
		case reflect.Pointer:
			list(of.Elem(), path)
		case reflect.Slice:
			list(of.Elem(), path+"[]")
		case reflect.Struct:
			for i := range of.NumField() {
				list(of.Field(i).Type, below(path, jsonName(of.Field(i))))
			}
		default:
			fields[path] = of.Kind().String()
		}
	}
	list(config, "")
	return fields
}

// jsonName returns the name of a field for encoding/json; empty if it is inlined.
func jsonName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	if name == "" && !field.Anonymous {
		name = field.Name
	}
	return name
}

func below(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// ourFields returns the same as theirFields for our struct, from its source.
func ourFields(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), ourSource, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("read our struct: %v", err)
	}
	structs := map[string]*ast.StructType{}
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.TypeSpec); ok {
			if of, ok := spec.Type.(*ast.StructType); ok {
				structs[spec.Name.Name] = of
			}
		}
		return true
	})
	if structs[ourStruct] == nil {
		t.Fatalf("%s has no struct %s any more: tell this test where it went", ourSource, ourStruct)
	}
	fields := map[string]string{}
	var list func(of ast.Expr, path string)
	list = func(of ast.Expr, path string) {
		switch of := of.(type) {
		case *ast.StarExpr:
			list(of.X, path)
		case *ast.ArrayType:
			list(of.Elt, path+"[]")
		case *ast.StructType:
			for _, field := range of.Fields.List {
				list(field.Type, below(path, yamlName(t, field)))
			}
		case *ast.Ident:
			if structs[of.Name] != nil {
				list(structs[of.Name], path)
				return
			}
			fields[path] = of.Name
		default:
			t.Fatalf("%s: %s is a %T, which this test does not know how to read", ourSource, path, of)
		}
	}
	list(structs[ourStruct], "")
	return fields
}

func yamlName(t *testing.T, field *ast.Field) string {
	t.Helper()
	if field.Tag == nil {
		t.Fatalf("%s: the field %v has no yaml tag", ourSource, field.Names)
	}
	tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
	name, _, _ := strings.Cut(tag.Get("yaml"), ",")
	return name
}
