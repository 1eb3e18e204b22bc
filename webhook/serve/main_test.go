// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"
)

func TestMain(m *testing.M) {
	crlog.SetLogger(logr.Discard()) // otherwise it logs that no logger was set
	if text := os.Getenv(aloneEnv); text != "" {
		os.Exit(serveAlone(text))
	}
	// controller-runtime's caches use apimachinery's watch.Filter. After it is stopped,
	// it waits for ever to deliver the last event.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
}
