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
	crlog.SetLogger(logr.Discard()) // else it complains that nobody has
	if text := os.Getenv(aloneEnv); text != "" {
		os.Exit(serveAlone(text))
	}
	// controller-runtime's caches filter what they watch with apimachinery's
	// watch.Filter, which waits for ever to hand over what came while it was stopped.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
}
