// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestErrorsAreNotRemembered(t *testing.T) {
	answers := []error{errors.New("down"), nil}
	r := newAnswerCache(time.Hour, func(context.Context, string, int) (int, error) {
		err := answers[0]
		answers = answers[1:]
		return 7, err
	})
	if _, err := r.get(t.Context(), "a"); err == nil || err.Error() != "down" {
		t.Errorf("got %v, want down", err)
	}
	for range 2 { // the second without a request: it would have no answer
		if got, err := r.get(t.Context(), "a"); got != 7 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
	}
}

func TestAnswersGetOld(t *testing.T) {
	asked := 0
	now := time.Unix(0, 0)
	r := newAnswerCache(time.Second, func(_ context.Context, key string, previous string) (string, error) {
		asked++
		return fmt.Sprintf("%s%s%d", previous, key, asked), nil
	})
	r.now = func() time.Time { return now }
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "a1"}, {999 * time.Millisecond, "a1"}, {time.Millisecond, "a1a2"}, {0, "a1a2"}} {
		now = now.Add(step.after)
		if got, err := r.get(t.Context(), "a"); got != step.want || err != nil {
			t.Errorf("after %v: got %q, %v, want %q", step.after, got, err, step.want)
		}
	}
}

// If one caller gives up, the others still get the answer.
func TestManyAskOnce(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	r := newAnswerCache(time.Hour, func(ctx context.Context, _ string, _ int) (int, error) {
		close(asked) // a second time would panic
		<-release
		return 7, ctx.Err()
	})
	impatient, giveUp := context.WithCancelCause(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := r.get(impatient, "a")
		gaveUp <- err
	}()
	<-asked
	var waiting sync.WaitGroup
	for range 50 {
		waiting.Go(func() {
			if got, err := r.get(t.Context(), "a"); got != 7 || err != nil {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
	giveUp(errors.New("enough"))
	if err := <-gaveUp; err == nil || err.Error() != "enough" {
		t.Errorf("got %v, want enough", err)
	}
	close(release)
	waiting.Wait()
}

func TestAnswersAreNotKeptForEver(t *testing.T) {
	now := time.Unix(0, 0)
	r := newAnswerCache(time.Second, func(context.Context, string, int) (int, error) { return 1, nil })
	r.now = func() time.Time { return now }
	fill := func(prefix string) {
		for i := range 2 * maxEntries {
			if _, err := r.get(t.Context(), fmt.Sprint(prefix, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill("first")
	if len(r.entries) != maxEntries {
		t.Errorf("%d answers are kept, want %d", len(r.entries), maxEntries)
	}
	now = now.Add(time.Minute)
	fill("second")
	for key := range r.entries {
		if strings.HasPrefix(key, "first") {
			t.Fatalf("%s is still kept", key)
		}
	}
}
