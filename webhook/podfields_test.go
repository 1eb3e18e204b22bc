// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// decided returns the table of docs/pod-fields.md whose first column has this heading.
// It maps fields to the second column.
func decided(t testing.TB, headline string) map[string]string {
	t.Helper()
	_, table, ok := strings.Cut(string(read(t, "testdata/repository/pod-fields.md")), "| "+headline+" |")
	if !ok {
		t.Fatalf("docs/pod-fields.md has no table of each %s", headline)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	decisions := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^|]+) \\|").FindAllStringSubmatch(table, -1) {
		if decisions[row[1]] != "" {
			t.Errorf("docs/pod-fields.md decides twice about %s %s", headline, row[1])
		}
		decisions[row[1]] = row[2]
	}
	return decisions
}

// checkDecided checks that the table has each field of the type, and no other. It
// returns the fields by their names in manifests.
func checkDecided(t testing.TB, headline string, kind reflect.Type, decisions map[string]string) map[string]reflect.StructField {
	t.Helper()
	fields := map[string]reflect.StructField{}
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
		fields[name] = kind.Field(i)
		if decisions[name] == "" {
			t.Errorf("docs/pod-fields.md does not decide about %s %s of %s: what does it do to our containers?", headline, name, kind)
		}
	}
	for name := range decisions {
		if _, ok := fields[name]; !ok {
			t.Errorf("docs/pod-fields.md decides about %s %s, which %s does not have", headline, name, kind)
		}
	}
	return fields
}

// fill sets v to a value that is not zero: one of everything.
func fill(v reflect.Value) {
	if q, ok := v.Addr().Interface().(*resource.Quantity); ok {
		*q = resource.MustParse("7")
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("filled")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint('7')
	default:
		panic("a field of a kind that no pod had: " + v.Type().String())
	}
}

// The decisions about fields of our containers that another webhook sets.
const (
	stays   = "stays"
	putBack = "is put back"
	refused = "has the pod refused"
	both    = "ours are put back, others stay"
)

// Another webhook sets each field of our containers, in the same admission. The result
// is what the document says.
func TestWhatOtherWebhooksMayChange(t *testing.T) {
	const ofContainer, ofContext = "field of a container", "field of `securityContext`"
	decisions := decided(t, ofContainer)
	for name, field := range checkDecided(t, ofContainer, reflect.TypeFor[corev1.Container](), decisions) {
		if name == "securityContext" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			checkAfterAnother(t, decisions[name], func(c *corev1.Container) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(field.Index) })
		})
	}
	decisions = decided(t, ofContext)
	for name, field := range checkDecided(t, ofContext, reflect.TypeFor[corev1.SecurityContext](), decisions) {
		t.Run("securityContext."+name, func(t *testing.T) {
			checkAfterAnother(t, decisions[name], func(c *corev1.Container) reflect.Value {
				return reflect.ValueOf(c.SecurityContext).Elem().FieldByIndex(field.Index)
			})
		})
	}
}

// checkAfterAnother checks the result after another webhook has set a field of both
// containers, in both orders.
func checkAfterAnother(t *testing.T, decision string, field func(*corev1.Container) reflect.Value) {
	t.Helper()
	for _, native := range []string{nativeYes, nativeNo} {
		r, _ := goldenRequest(t, "plain")
		r.NativeSidecar = native
		r = admitted(t, r)
		once := mutated(t, r, r.Pod)
		r.Pod = once.Pod.DeepCopy()
		for _, c := range ours(r.Pod) {
			fill(field(c))
		}
		set := r.Pod.DeepCopy()
		after := r.Pod
		result := Mutate(r)
		if result.Decision == Inject {
			after = result.Pod
		}
		if (decision == refused) != (result.Decision == Refuse) {
			t.Errorf("native %s: %s (%s): %s", native, result.Decision, result.Reason, result.Message)
		}
		for i, c := range ours(after) {
			got, wished, foreign := field(c).Interface(), field(ours(once.Pod)[i]).Interface(), field(ours(set)[i]).Interface()
			switch decision {
			case stays:
				if d := cmp.Diff(foreign, got); d != "" {
					t.Errorf("native %s, %s: does not stay (-set +got):\n%s", native, c.Name, d)
				}
			case putBack:
				if d := cmp.Diff(wished, got); d != "" {
					t.Errorf("native %s, %s: is not put back (-ours +got):\n%s", native, c.Name, d)
				}
			case both:
				checkBoth(t, ours(once.Pod)[i], ours(set)[i], c)
			case refused:
			default:
				t.Fatalf("docs/pod-fields.md says %q: write %q, %q, %q or %q", decision, stays, putBack, both, refused)
			}
		}
	}
}

// checkBoth checks fields that hold values of ours and of others.
func checkBoth(t *testing.T, wished, set, got *corev1.Container) {
	t.Helper()
	mounts := map[string]string{}
	for _, m := range got.VolumeMounts {
		mounts[m.MountPath] = m.Name
	}
	for _, m := range append(wished.VolumeMounts, set.VolumeMounts...) {
		if mounts[m.MountPath] != m.Name {
			t.Errorf("%s: at %s is mounted %q, want %q", got.Name, m.MountPath, mounts[m.MountPath], m.Name)
		}
	}
	if wished.Lifecycle != nil && !cmp.Equal(wished.Lifecycle.PostStart, got.Lifecycle.PostStart) {
		t.Errorf("%s: postStart is %+v", got.Name, got.Lifecycle.PostStart)
	}
	if set.Lifecycle != nil && !cmp.Equal(set.Lifecycle.PreStop, got.Lifecycle.PreStop) {
		t.Errorf("%s: preStop is %+v", got.Name, got.Lifecycle.PreStop)
	}
}

// ours returns both containers of an injected pod, init-redirect first. Another webhook
// may have renamed one.
func ours(pod *corev1.Pod) []*corev1.Container {
	all := []*corev1.Container{&pod.Spec.InitContainers[0]}
	if strings.Contains(pod.Annotations[AnnotationStatus], `"containers"`) {
		return append(all, &pod.Spec.Containers[0])
	}
	return append(all, &pod.Spec.InitContainers[1])
}
