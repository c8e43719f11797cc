// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlineIsWithinTheAcceptTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadlines
		begun := time.Now()
		last := make(map[context.Context]time.Duration) // when its last request had come
		for range 100 {
			came := time.Since(begun)
			ctx := d.next(time.Now())
			last[ctx] = came
			at, _ := ctx.Deadline()
			if waits := at.Sub(begun.Add(came)); waits > acceptTime || waits < acceptTime-deadlineGap {
				t.Fatalf("a request is answered after %s", waits)
			}
			time.Sleep(deadlineGap / 4)
		}
		if len(last) < 10 || len(last) > 50 {
			t.Errorf("%d contexts for 100 requests", len(last))
		}
		for ctx, came := range last {
			<-ctx.Done()
			if took := time.Since(begun); took < came+acceptTime-deadlineGap {
				t.Errorf("a request that came after %s ended after %s", came, took)
			}
		}
	})
}
