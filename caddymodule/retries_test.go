// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"
	"testing"
)

func TestP8_GoneIsPermanentUnlessSaidOtherwise(t *testing.T) {
	for lines, want := range map[string][]int{
		"":                                  {410},
		"retry fixed 1m":                    {410},
		"retry schedule 1m":                 {410},
		"retry {\n\t\tattempts 3\n\t\t}":    {410},
		"retry {\n\t\ton 500 503\n\t\t}":    {410},
		"retry {\n\t\ton 410 503\n\t\t}":    nil,
		"retry {\n\t\tnever 400 422\n\t\t}": {400, 422},
		"retry {\n\t\tnever none\n\t\t}":    nil,
	} {
		t.Run(lines, func(t *testing.T) {
			r := start(t, memoryOptions+":0 {\n\trelay /in a:1 {\n\t\t"+lines+"\n\t}\n}\n")
			d := r.app.generation.Destinations[0]
			if !slices.Equal(d.Retry.Never, want) {
				t.Errorf("never %v, want %v", d.Retry.Never, want)
			}
			if d.Retry.Retries(410) != !slices.Contains(want, 410) {
				t.Errorf("410 is retried: %v", d.Retry.Retries(410))
			}
		})
	}
}
