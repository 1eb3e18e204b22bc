// SPDX-License-Identifier: Apache-2.0

package dryrun

import (
	"strings"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// warnings are those that the API server gave since the last call of take. Each is passed
// on to the caller's handler, if there is one.
type warnings struct {
	next rest.WarningHandler

	mutex sync.Mutex
	texts []string // guarded by mutex
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(code int, agent, text string) {
	if w.next != nil {
		w.next.HandleWarningHeader(code, agent, text)
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warnings) take() []string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

// disabled returns the webhook's warning about a labelled pod that the configuration
// leaves alone, without its beginning. It returns "" if there is none.
func disabled(said []string) string {
	for _, text := range said {
		if rest, ok := strings.CutPrefix(text, webhook.WarningDisabled); ok {
			return rest
		}
	}
	return ""
}
