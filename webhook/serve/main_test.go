// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// controller-runtime's caches filter what they watch with apimachinery's
	// watch.Filter, which waits for ever to hand over what came while it was stopped.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
}
