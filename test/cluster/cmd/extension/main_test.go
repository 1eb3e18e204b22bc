// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnswers(t *testing.T) {
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/apis/g.example/v1", "", `{"apiVersion":"v1","groupVersion":"g.example/v1","kind":"APIResourceList","resources":[{"kind":"Word","name":"words","namespaced":false,"singularName":"word","verbs":["get"]}]}`},
		{"GET", "/apis/g.example/v1/words/a", "", `{"apiVersion":"g.example/v1","kind":"Word","metadata":{"name":"a"},"servedBy":"me"}`},
		{"POST", "/admit", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"7"}}`, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"allowed":true,"patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL21ldGFkYXRhL2xhYmVscyIsInZhbHVlIjp7ImFkbWl0dGVkLWJ5IjoibWUifX1d","patchType":"JSONPatch","uid":"7"}}`},
	} {
		recorder := httptest.NewRecorder()
		handler("me").ServeHTTP(recorder, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		var got, want any
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s %s: %v: %s", c.method, c.path, err, recorder.Body)
		}
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.method, c.path, d)
		}
	}
}

func TestBadReviewIsRefused(t *testing.T) {
	recorder := httptest.NewRecorder()
	handler("me").ServeHTTP(recorder, httptest.NewRequest("POST", "/admit", strings.NewReader("no")))
	if recorder.Code != 400 {
		t.Errorf("the answer is %d %s", recorder.Code, recorder.Body)
	}
}
