// SPDX-License-Identifier: Apache-2.0

// Command extension extends the API of a test cluster, from a pod: it is an aggregated API
// and an admission webhook, over TLS on port 8443. Its answers name it, by the variable
// NAME.
//
//	GET  /apis/GROUP/VERSION             the resources of any group and version: words
//	GET  /apis/GROUP/VERSION/words/WORD  an object that has any word as its name
//	POST /admit                          an AdmissionReview: allows everything, with a label
//
// The folder /tls has tls.crt and tls.key. Like the connections of the tests, its clients
// are not authenticated.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	server := &http.Server{Addr: ":8443", Handler: handler(os.Getenv("NAME")), ReadHeaderTimeout: time.Minute}
	log.Fatal(server.ListenAndServeTLS("/tls/tls.crt", "/tls/tls.key"))
}

// object is any JSON object.
type object map[string]any

func handler(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apis/{group}/{version}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, object{
			"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": groupVersion(r),
			"resources": []object{{"name": "words", "singularName": "word", "namespaced": false, "kind": "Word", "verbs": []string{"get"}}},
		})
	})
	mux.HandleFunc("GET /apis/{group}/{version}/words/{word}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, object{
			"kind": "Word", "apiVersion": groupVersion(r), "servedBy": name,
			"metadata": object{"name": r.PathValue("word")},
		})
	})
	mux.HandleFunc("POST /admit", func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			APIVersion, Kind string
			Request          struct{ UID string }
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<20)).Decode(&review); err != nil {
			http.Error(w, "read the AdmissionReview: "+err.Error(), http.StatusBadRequest)
			return
		}
		patch, err := json.Marshal([]object{{"op": "add", "path": "/metadata/labels", "value": object{"admitted-by": name}}})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, object{
			"kind": review.Kind, "apiVersion": review.APIVersion,
			"response": object{"uid": review.Request.UID, "allowed": true, "patchType": "JSONPatch", "patch": patch},
		})
	})
	return mux
}

func groupVersion(r *http.Request) string {
	return fmt.Sprintf("%s/%s", r.PathValue("group"), r.PathValue("version"))
}

// answer sends an object. If the client is gone, there is no one to tell.
func answer(w http.ResponseWriter, body object) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // its parts can be encoded, so only writing can fail
}
