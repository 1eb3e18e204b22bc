// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// roundTrips is a transport that records the requests' URLs.
type roundTrips []string

func (r *roundTrips) RoundTrip(request *http.Request) (*http.Response, error) {
	*r = append(*r, request.URL.RequestURI())
	return httptest.NewRecorder().Result(), nil
}

// The rotation reads one Secret and one MutatingWebhookConfiguration, and no others.
func TestTheRotationListsWhatIsItsOwn(t *testing.T) {
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/api/v1/namespaces/a/secrets?limit=500", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dcerts&limit=500"},
		{"GET", "/api/v1/namespaces/a/secrets?watch=true", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dcerts&watch=true"},
		{"GET", "/apis/x/v1/mutatingwebhookconfigurations", "/apis/x/v1/mutatingwebhookconfigurations?fieldSelector=metadata.name%3Dhook"},
		{"GET", "/api/v1/namespaces/a/secrets/other", "/api/v1/namespaces/a/secrets/other"},
		{"POST", "/api/v1/namespaces/a/secrets", "/api/v1/namespaces/a/secrets"},
		{"GET", "/api/v1/namespaces/a/leases?x=1", "/api/v1/namespaces/a/leases?x=1"},
	} {
		var went roundTrips
		transport := &namedObjectsOnly{&went, map[string]string{"secrets": "certs", "mutatingwebhookconfigurations": "hook"}}
		request := httptest.NewRequest(tt.method, tt.path, nil)
		before := request.URL.String()
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if len(went) != 1 || went[0] != tt.want {
			t.Errorf("%s %s went to %v, want %s", tt.method, tt.path, went, tt.want)
		}
		if request.URL.String() != before {
			t.Errorf("the request has been changed: %s", request.URL)
		}
	}
}
