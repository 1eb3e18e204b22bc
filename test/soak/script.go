// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"time"
)

// script is what the two ends of a connection do. The app sends it in its first line. In
// each round the target reads up bytes and then answers with down bytes.
type script struct {
	id       uint64
	up, down int64 // of one round
	rounds   int64
	pause    time.Duration // of the target, in the middle of each answer
	stop     time.Duration // for which the target does not read, soon after each request begins
	// targetCloses is false if the app ends the connection, after its last round or
	// before.
	targetCloses bool
}

const scriptFormat = "soak id=%d up=%d down=%d rounds=%d pause=%d stop=%d closes=%t\n"

// maxScript bounds a script's line.
const maxScript = 200

func (s script) String() string {
	return fmt.Sprintf(scriptFormat, s.id, s.up, s.down, s.rounds, s.pause.Milliseconds(), s.stop.Milliseconds(), s.targetCloses)
}

func parseScript(line string) (script, error) {
	var s script
	var pause, stop int64
	_, err := fmt.Sscanf(line, scriptFormat, &s.id, &s.up, &s.down, &s.rounds, &pause, &stop, &s.targetCloses)
	s.pause, s.stop = time.Duration(pause)*time.Millisecond, time.Duration(stop)*time.Millisecond
	if err == nil && s.String() != line {
		err = fmt.Errorf("it reads as %q", s.String())
	}
	if err != nil {
		return script{}, fmt.Errorf("not a script: %.*q: %w", maxScript, line, err)
	}
	return s, nil
}

// answers returns the number of bytes of all answers.
func (s script) answers() int64 { return s.rounds * s.down }

// needs returns how many bytes a target must have read before it has answered this many.
func (s script) needs(answered int64) int64 {
	if s.down == 0 || answered <= 0 {
		return 0
	}
	return (answered + s.down - 1) / s.down * s.up
}
