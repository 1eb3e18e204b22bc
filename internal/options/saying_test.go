// SPDX-License-Identifier: Apache-2.0

package options

import (
	"strings"
	"testing"
)

// TestEmptyValuesAreShown: a sentence about an empty value shows it, unless nothing was given.
func TestEmptyValuesAreShown(t *testing.T) {
	inFolderWithFiles(t)
	for _, flag := range []string{"--mode", "--log-level", "--dial-timeout", "--max-dials", "--health-address", "--accept-while-draining", "--exit-policy", "--shoot-node-cidr"} {
		_, err := parse(theProxy, []string{pods, tcp, ca, flag + "="}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), flag+` "" `) {
			t.Errorf("%s=: %v", flag, err)
		}
	}
	for _, flag := range []string{"--netns", "--to", "--from", "--uid"} {
		_, err := parse(theDump, []string{pods, flag + "="}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), flag+" is empty: ") {
			t.Errorf("%s=: %v", flag, err)
		}
	}
	if _, err := parse(theProxy, []string{pods, ca}, nil); err == nil || !strings.HasPrefix(err.Error(), "--proxy-server is not given") {
		t.Errorf("nothing given: %v", err)
	}
}

// TestEverySentenceSaysWhatToDo: behind what is wrong stands what to do.
func TestEverySentenceSaysWhatToDo(t *testing.T) {
	inFolderWithFiles(t)
	for _, tt := range badCases() {
		if _, err := parse(tt.program, tt.args, tt.environment); err != nil && !strings.ContainsAny(err.Error(), ":;") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
