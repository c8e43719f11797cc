// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestP10_WhatWouldBeRefusedIsToldBeforehand(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		expect := func(when string, last bool, want error) {
			t.Helper()
			if err := r.Refuses("s", last); !errors.Is(err, want) || (want == nil) != (err == nil) {
				t.Errorf("%s: %v, want %v", when, err, want)
			}
		}
		expect("at first", false, nil)

		r.bound(BacklogLimit{Max: 4 * chunk, Reserve: true})
		r.fill("backlog", asItIs)
		expect("with a backlog that is full", false, ErrBacklog)
		expect("for one that never sends again", true, nil)
		r.bound(BacklogLimit{Max: 100 * chunk})
		expect("with a backlog that was raised", false, nil)

		var v volume
		r.mount(&v)
		v.free.Store(mebibyte)
		settle(spaceEvery)
		expect("without space", true, ErrDiskFull)
		v.free.Store(10_000 * mebibyte)
		settle(spaceEvery)
		expect("with space", false, nil)
	})
}

func TestP10_CrowdedQueueIsToldUntilItIsNot(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		commit := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-commit; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for i, body := range []string{"1", "2"} {
			go func() { _, _ = r.Accept(ctx, r.inbound(body)) }()
			synctest.Wait()
			if err := r.Refuses("s", false); err != nil {
				t.Errorf("with %d in the queue: %v", i, err)
			}
		}
		settle(2 * time.Second)
		if _, err := r.Accept(ctx, r.inbound("3")); !errors.Is(err, ErrOverloaded) {
			t.Errorf("Accept: %v", err)
		}
		if err := r.Refuses("s", false); !errors.Is(err, ErrOverloaded) {
			t.Errorf("while the queue stands: %v", err)
		}
		if err := r.Refuses("s", true); err != nil {
			t.Errorf("for one that never sends again: %v", err)
		}
		close(commit)
		settle(time.Second)
		if err := r.Refuses("s", false); err != nil {
			t.Errorf("when it is empty: %v", err)
		}
	})
}

func TestRefusesTellsOfAStoreThatHasFailedOrIsNotThere(t *testing.T) {
	if err := New(Options{}).Refuses("s", false); err != nil {
		t.Errorf("before the start, for which Accept waits: %v", err)
	}
}
