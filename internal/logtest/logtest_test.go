// SPDX-License-Identifier: Apache-2.0

package logtest_test

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

func TestLinesOfSeveralGoroutines(t *testing.T) {
	var log logtest.Buffer
	added := log.Added()
	select {
	case <-added:
		t.Error("nothing was written, and the channel has an element")
	default:
	}
	logger := log.Logger(slog.LevelInfo)
	var writers sync.WaitGroup
	for i := range 50 {
		writers.Go(func() {
			logger.Info("counted", "n", i)
			logger.Info("another")
			logger.Debug("counted")
		})
	}
	waittest.Await(t, added, "a line")
	writers.Wait()
	lines := log.Lines(t, "counted")
	seen := map[float64]bool{}
	for _, line := range lines {
		seen[line["n"].(float64)] = true
	}
	if len(lines) != 50 || len(seen) != 50 {
		t.Errorf("50 lines were written, and the log has %d with %d numbers:\n%s", len(lines), len(seen), &log)
	}
}
