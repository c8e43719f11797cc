// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSinkCountsEachEventOnce(t *testing.T) {
	b, err := newBatch("00c0ffee", 0, 3, testBody, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := newPhase("00c0ffee", 3, testBody, false)
	for _, seq := range []int{0, 1, 1, 1} {
		p.arrive(b.appendBody(nil, seq))
	}
	p.arrive(b.appendBody(nil, 2)[:testBody-1])
	p.arrive([]byte("{}"))
	got := sinkCount{p.distinct.Load(), p.duplicates.Load(), p.strangers.Load()}
	if want := (sinkCount{Distinct: 2, Duplicates: 2, Strangers: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if p.arrivals[0].Load() == 0 || p.arrivals[2].Load() != 0 {
		t.Error("the times of arrival are not those of what arrived")
	}
}

func TestHangingSinkNeitherAnswersNorCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := newBatch("00c0ffee", 0, 1, testBody, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p := newPhase("00c0ffee", 1, testBody, true)
		answered := make(chan struct{})
		go func() {
			p.arrive(b.appendBody(nil, 0))
			close(answered)
		}()
		synctest.Wait()
		select {
		case <-answered:
			t.Fatal("answered while it should hang")
		default:
		}
		p.release()
		<-answered
		if p.distinct.Load() != 0 {
			t.Error("counted an event that it left unanswered")
		}
	})
}
