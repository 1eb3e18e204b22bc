// SPDX-License-Identifier: Apache-2.0

// Package configfile has the format of an InjectionConfig: its sections, and the table of
// its fields with their flags, annotations and defaults.
//
//	for _, f := range configfile.Fields() {
//		fmt.Println(f.Name, f.Of(&file))
//	}
//
// It does not know which of several sources decides, or what a pod gets.
package configfile
