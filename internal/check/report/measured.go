// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"time"
)

// Certificate is what a report says of a certificate.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names,omitempty"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// Times are those of several tries, in seconds.
type Times struct {
	Tries  int     `json:"tries"`
	Failed int     `json:"failed"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// String says the times in words.
func (t *Times) String() string {
	if t.Tries == t.Failed {
		return fmt.Sprintf("none of %d tries succeeded", t.Tries)
	}
	at := func(s float64) string { return Seconds(time.Duration(s * float64(time.Second))) }
	text := fmt.Sprintf("%s to %s, median %s, of %d", at(t.Min), at(t.Max), at(t.Median), t.Tries)
	if t.Failed > 0 {
		text += fmt.Sprintf(", of which %d failed", t.Failed)
	}
	return text
}
