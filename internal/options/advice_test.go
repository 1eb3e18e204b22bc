// SPDX-License-Identifier: Apache-2.0

package options

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Patterns of the advice in sentences: values to write instead of the refused one, and
// flags to add.
var (
	advisedValue = regexp.MustCompile(`write (.*)$`)
	advisedFlag  = regexp.MustCompile(`add (--[a-z-]+) (\S+)`)
	refusedFlag  = regexp.MustCompile(`^(--[a-z-]+)(?: ("(?:[^"\\]|\\.)*"))? `)
	// notValues matches the words behind the values in an advice.
	notValues = regexp.MustCompile(`[;,]? (?:for|with|to|and its|in|from|is|of|alone|without|at least|once|where|when) .*$`)
	separated = regexp.MustCompile(`,? or |, `)
	// plainValue matches a value that can be given as it is, unlike "a whole number".
	plainValue = regexp.MustCompile(`^[^ ]*[0-9/:][^ ]*$|^(?:auto|grpc|http-connect|nft|legacy|table|json|text|debug|info|warn|error)$`)
)

// advice returns the values that a sentence advises to write.
func advice(sentence string) []string {
	match := advisedValue.FindStringSubmatch(sentence)
	if match == nil {
		return nil
	}
	text := match[1]
	for _, introduced := range []string{"such as ", "like "} {
		if _, after, found := strings.Cut(text, introduced); found {
			text = after
		}
	}
	var values []string
	for _, value := range separated.Split(notValues.ReplaceAllString(text, ""), -1) {
		if value = strings.Trim(value, `"`); plainValue.MatchString(value) {
			values = append(values, value)
		}
	}
	return values
}

// given returns args with another value for a flag, or with one more flag.
func given(args []string, flag, value string) []string {
	var changed []string
	for _, arg := range args {
		if name, _, _ := strings.Cut(arg, "="); name != flag {
			changed = append(changed, arg)
		}
	}
	return append(changed, flag+"="+value)
}

// A value that a refusal advises to write is not refused.
func TestAdviceIsNotRefused(t *testing.T) {
	inFolderWithFiles(t)
	followed := 0
	for _, tt := range badCases() {
		if tt.environment != nil {
			continue // their sentences are the same
		}
		_, err := parse(tt.program, tt.args, nil)
		if err == nil {
			continue // the golden file's test reports it
		}
		flag := refusedFlag.FindStringSubmatch(err.Error())
		if flag == nil || flag[1] == "--egress-selector-config-file" {
			continue // the next test has the files
		}
		try := func(changed []string) {
			followed++
			_, again := parse(tt.program, changed, nil)
			if again == nil || flag[1] == "--netns" && strings.Contains(again.Error(), "does not exist") {
				return
			}
			if strings.HasPrefix(again.Error(), flag[1]) {
				t.Errorf("%s: %v\nand with %q: %v", tt.name, err, changed, again)
			}
		}
		for _, value := range advice(err.Error()) {
			try(given(tt.args, flag[1], value))
		}
		if add := advisedFlag.FindStringSubmatch(err.Error()); add != nil {
			try(append([]string{add[1] + "=" + add[2]}, tt.args...))
		}
	}
	if followed < 60 {
		t.Errorf("%d advices were followed, and there are more", followed)
	}
}

// A refusal of a field in an EgressSelectorConfiguration advises to write a value. That
// value is not refused in the field.
func TestAdviceForFieldsIsNotRefused(t *testing.T) {
	field := regexp.MustCompile(`transport\.(?:tcp\.url|uds\.udsName) "([^"]*)"`)
	inFolderWithFiles(t)
	followed := 0
	for _, tt := range badEgressSelectors() {
		_, err := parse(tt.program, tt.args, nil)
		if err == nil {
			continue // the golden file's test reports it
		}
		refused := field.FindStringSubmatch(err.Error())
		path := strings.TrimPrefix(tt.args[1], "--egress-selector-config-file=")
		if refused == nil {
			continue
		}
		before, readErr := os.ReadFile(path)
		if readErr != nil {
			t.Fatal(readErr)
		}
		for _, value := range advice(err.Error()) {
			followed++
			name, _, _ := strings.Cut(strings.TrimPrefix(refused[0], "transport."), " ")
			name = name[strings.LastIndex(name, ".")+1:]
			line := regexp.MustCompile(`(?m)` + name + `: *['"]?` + regexp.QuoteMeta(refused[1]) + `['"]?`)
			after := line.ReplaceAllLiteralString(string(before), name+`: "`+value+`"`)
			if after == string(before) {
				t.Fatalf("%s has no %s", path, refused[0])
			}
			if err := os.WriteFile("advised.yaml", []byte(after), 0o600); err != nil {
				t.Fatal(err)
			}
			_, again := parse(tt.program, []string{tt.args[0], "--egress-selector-config-file=advised.yaml"}, nil)
			if again != nil && field.MatchString(again.Error()) {
				t.Errorf("%s: %v\nand with %q: %v", tt.name, err, value, again)
			}
		}
	}
	if followed < 5 {
		t.Errorf("%d advices were followed, and there are more", followed)
	}
}
