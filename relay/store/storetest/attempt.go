// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"strings"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var attemptChecks = []check{
	{"of_a_first_success_is_kept", checkAttemptFirst},
	{"of_all_retries_are_kept", checkAttemptRetries},
	{"of_all_generations_are_kept", checkAttemptGenerations},
	{"of_a_duplicate_that_re_drives_are_kept", checkAttemptDuplicate},
	{"after_the_end_is_kept_beside_the_one_that_ended", checkAttemptLate},
	{"after_the_end_in_one_batch_is_kept", checkAttemptLateInBatch},
	{"stays_when_a_dead_delivery_is_canceled", checkAttemptCanceled},
	{"may_be_large", checkAttemptLarge},
	{"goes_with_its_message", checkAttemptGone},
	{"of_an_end_without_one_is_the_one_before", checkAttemptNone},
}

// history is what a delivery should have for attempts.
type history struct {
	x    *fixture
	id   store.DeliveryID
	want []store.Attempt
}

func (x *fixture) history(d store.Delivery) *history { return &history{x: x, id: d.ID} }

// finish ends a lease with an attempt that is unlike all others, and checks what is
// kept.
func (h *history) finish(d store.Delivery, state store.State, outcome store.Outcome) store.Delivery {
	h.x.Helper()
	f := h.next(d, state, outcome)
	ended := h.x.finish(f).Delivery
	h.check()
	return ended
}

// next returns a finish with the next attempt.
func (h *history) next(d store.Delivery, state store.State, outcome store.Outcome) store.Finish {
	n := len(h.want) + 1
	a := store.Attempt{
		Number: uint32(n), StartedAt: h.x.clock.Now(), Duration: time.Duration(n) * time.Second, Outcome: outcome, Status: 200 + n,
		Head: []byte(strings.Repeat("h", n)),
	}
	if outcome != store.Succeeded {
		a.Error = strings.Repeat("e", n)
	}
	h.want = append(h.want, a)
	return store.Finish{Lease: d.Lease(), State: state, Attempt: &a}
}

// check compares the attempts, also when the store has been opened again.
func (h *history) check() {
	h.x.Helper()
	same(h.x, "attempts", plainAttempts(h.x.attempts(h.id)), plainAttempts(h.want))
}

func (h *history) checkReopened() {
	h.x.Helper()
	h.check()
	if h.x.backend.Reopen != nil {
		h.x.reopen()
		h.check()
	}
}

func checkAttemptFirst(x *fixture) {
	for _, state := range []store.State{store.Delivered, store.Dead, store.Canceled} {
		d := x.leased("a")
		h := x.history(d)
		h.finish(d, state, store.Succeeded)
		h.checkReopened()
	}
}

func checkAttemptRetries(x *fixture) {
	d := x.leased("a")
	h := x.history(d)
	for range 4 {
		h.finish(d, store.Waiting, store.Refused)
		h.checkReopened()
		d = x.claimOne("a")
	}
	h.finish(d, store.Pending, store.Aborted)
	d = x.claimOne("a")
	h.finish(d, store.Delivered, store.Succeeded)
	h.checkReopened()
}

func checkAttemptGenerations(x *fixture) {
	d := x.leased("a")
	h := x.history(d)
	for generation := range uint32(3) {
		h.finish(d, store.Waiting, store.Refused)
		dead := h.finish(x.claimOne("a"), store.Dead, store.TimedOut)
		h.checkReopened()
		again, err := x.store.Redrive(x.Context(), d.ID)
		if err != nil {
			x.Fatalf("Redrive: %v", err)
		}
		same(x, "generation", again.Generation, generation+1)
		same(x, "last error", again.LastError, dead.LastError)
		h.checkReopened()
		d = x.claimOne("a")
	}
	h.finish(d, store.Delivered, store.Succeeded)
	h.checkReopened()
}

func checkAttemptDuplicate(x *fixture) {
	a := x.keyed("k")
	a.Deliveries = to(lease, "a")
	d := x.only(x.accept(a).Deliveries)
	h := x.history(d)
	h.finish(d, store.Dead, store.Refused)
	x.only(x.accept(x.keyed("k", "a")).Deliveries)
	h.checkReopened()
	h.finish(x.claimOne("a"), store.Dead, store.Refused)
	h.checkReopened()
}

func checkAttemptLate(x *fixture) {
	late := x.leased("a")
	h := x.history(late)
	x.clock.advance(2 * lease)
	d := x.claimOne("a")
	ended := h.finish(d, store.Delivered, store.Succeeded)
	for range 2 {
		f := h.next(late, store.Dead, store.Refused)
		h.want[len(h.want)-1].Superseded = true
		same(x, "error", x.finishAll(f)[0].Err != nil, true)
		h.checkReopened()
	}
	got := x.delivery(d.ID)
	same(x, "last status", got.LastStatus, ended.LastStatus)
	same(x, "attempts", got.Attempts, uint32(3))
}

func checkAttemptLateInBatch(x *fixture) {
	late := x.leased("a")
	h := x.history(late)
	x.clock.advance(2 * lease)
	d := x.claimOne("a")
	batch := []store.Finish{h.next(d, store.Delivered, store.Succeeded), h.next(late, store.Delivered, store.Succeeded)}
	h.want[1].Superseded = true
	x.finishAll(batch...)
	h.checkReopened()
}

func checkAttemptCanceled(x *fixture) {
	a := x.acceptance()
	a.Deliveries = []store.NewDelivery{{Destination: "a", OrderKey: "k", Lease: lease}}
	d := x.only(x.accept(a).Deliveries)
	h := x.history(d)
	f := h.next(d, store.Dead, store.Refused)
	f.Hold = true
	x.finish(f)
	h.checkReopened()
	if _, err := x.store.Cancel(x.Context(), d.ID); err != nil {
		x.Fatalf("Cancel: %v", err)
	}
	h.checkReopened()
}

func checkAttemptLarge(x *fixture) {
	var all []*history
	for _, size := range []int{0, 1, 50, 100, 127, 128, 150, 200, 255, 256, 500, 1 << 10, 1 << 20} {
		for _, state := range []store.State{store.Delivered, store.Dead} {
			d := x.leased("a")
			h := x.history(d)
			f := h.next(d, state, store.Refused)
			f.Attempt.Error = strings.Repeat("e", size)
			f.Attempt.Head = bytes.Repeat([]byte{0xff}, size)
			h.want[0].Error, h.want[0].Head = f.Attempt.Error, f.Attempt.Head
			x.finish(f)
			h.check()
			if all = append(all, h); state != store.Dead {
				continue
			}
			if _, err := x.store.Redrive(x.Context(), d.ID); err != nil {
				x.Fatalf("Redrive: %v", err)
			}
			h.finish(x.claimOne("a"), store.Delivered, store.Succeeded)
		}
	}
	all[0].checkReopened()
	for _, h := range all {
		h.check()
	}
}

func checkAttemptGone(x *fixture) {
	d := x.leased("a")
	h := x.history(d)
	h.finish(d, store.Waiting, store.Refused)
	h.finish(x.claimOne("a"), store.Delivered, store.Succeeded)
	other := x.leased("a")
	kept := x.history(other)
	x.clock.advance(grace)
	kept.finish(other, store.Delivered, store.Succeeded)
	if _, err := x.store.Purge(x.Context(), store.PurgeRequest{Finished: grace}); err != nil {
		x.Fatalf("Purge: %v", err)
	}
	if all, err := x.store.Attempts(x.Context(), d.ID); err == nil {
		x.Errorf("attempts of a purged delivery: %+v", all)
	}
	kept.checkReopened()
	if err := x.store.Delete(x.Context(), other.ID.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	if all, err := x.store.Attempts(x.Context(), other.ID); err == nil {
		x.Errorf("attempts of a deleted delivery: %+v", all)
	}
}

func checkAttemptNone(x *fixture) {
	d := x.leased("a")
	h := x.history(d)
	h.finish(d, store.Waiting, store.Refused)
	again := x.claimOne("a")
	x.finish(store.Finish{Lease: again.Lease(), State: store.Dead})
	h.checkReopened()
	if _, err := x.store.Redrive(x.Context(), d.ID); err != nil {
		x.Fatalf("Redrive: %v", err)
	}
	h.finish(x.claimOne("a"), store.Delivered, store.Succeeded)
	h.checkReopened()
}
