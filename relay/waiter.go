// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"net/http"
	"sync"
)

// Answer is what a destination has answered, to be passed on.
type Answer struct {
	// Status is the HTTP status, a 2xx.
	Status int

	// Header holds the headers as they were given to Waiter.Begin.
	Header http.Header

	// Body is the whole body.
	Body []byte
}

// Waiter is a sender who waits for the first attempt of its message. That is the
// attempt which the dispatcher makes anyway: it begins when it can, and goes on
// whoever has left meanwhile. The Waiter only gets to know what was answered.
//
// The memory for the answer is a part of the budget, taken as it comes. What
// does not fit, or is over the limit, is no answer.
type Waiter struct {
	room struct{ header, body int64 }
	done chan struct{}

	// mu guards what follows. over says that nothing is taken in any more: the
	// attempt has ended, or the sender has left.
	mu          sync.Mutex
	reservation *Reservation
	answer      *Answer
	good        bool
	over        bool
	settled     bool

	// left says that the sender has gone. Until then it has the body of its message
	// in memory, which hold accounts for; gone is called when it goes.
	left bool
	hold *hold
	gone func()
}

// NewWaiter returns a Waiter for an Inbound. header and body bound those of the
// answer, in bytes; the reservation, still empty, belongs to the Waiter.
func NewWaiter(reservation *Reservation, header, body int64) *Waiter {
	w := &Waiter{reservation: reservation, done: make(chan struct{})}
	w.room.header, w.room.body = header, body
	return w
}

// Wait returns the answer with which the first attempt has succeeded. It returns
// nil where there is none: the attempt failed, it was not made at once, its
// answer could not be kept, or ctx ended first. It must only be called for a
// message that Accept has found to be fresh, and Leave must follow.
func (w *Waiter) Wait(ctx context.Context) *Answer {
	select {
	case <-w.done:
	case <-ctx.Done():
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.good {
		return nil
	}
	return w.answer
}

// Leave gives the memory of the answer back, which must not be used after it, and
// with it what the body of the message takes. It must be called, whatever Accept
// returned. The attempt goes on. It may be called on nil and more than once.
func (w *Waiter) Leave() {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.left = true
	w.forget()
	w.hold.drop()
	w.hold = nil
	gone := w.gone
	w.mu.Unlock()
	if gone != nil {
		gone()
	}
}

// onLeave has f called when the sender goes, or at once if it has.
func (w *Waiter) onLeave(f func()) {
	w.mu.Lock()
	w.gone = f
	left := w.left
	w.mu.Unlock()
	if left {
		f()
	}
}

// keep takes a reference to the message until the sender goes. Where the message
// is not kept in memory, nobody waits for it either: its sender would keep the
// body.
func (w *Waiter) keep(h *hold) {
	if w == nil {
		return
	}
	if h == nil {
		w.settle(false)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.left {
		h.add()
		w.hold = h
	}
}

// Begin takes the status and the headers of an answer, of which it keeps those
// that pass. Deliverers call it on Attempt.Waiter, which may be nil.
func (w *Waiter) Begin(status int, header http.Header, passes func(name string, values []string) bool) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.answer != nil || status < 200 || status > 299 {
		return
	}
	w.answer = &Answer{Status: status, Header: make(http.Header, len(header))}
	for name, values := range header {
		if !passes(name, values) {
			continue
		}
		size := int64(len(name))
		for _, value := range values {
			size += int64(len(value))
		}
		if w.room.header -= size; w.room.header < 0 || !w.reservation.Grow(size) {
			w.forget()
			return
		}
		w.answer.Header[name] = append([]string(nil), values...)
	}
}

// Write takes a part of the body of an answer that has begun. It may be called on
// nil.
func (w *Waiter) Write(p []byte) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.answer == nil {
		return
	}
	body := w.answer.Body
	need := int64(len(body) + len(p))
	if have := int64(cap(body)); need > have {
		larger := max(need, min(2*have, w.room.body))
		if need > w.room.body || !w.reservation.Grow(larger-have) {
			w.forget()
			return
		}
		body = append(make([]byte, 0, larger), body...)
	}
	w.answer.Body = append(body, p...)
}

// forget drops the answer. The caller holds the lock.
func (w *Waiter) forget() {
	w.over, w.good, w.answer = true, false, nil
	w.reservation.Release()
}

// settle ends the wait; only the first call counts. good says that the attempt has
// succeeded.
func (w *Waiter) settle(good bool) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.settled {
		return
	}
	w.settled = true
	if w.good = good && !w.over && w.answer != nil; !w.good {
		w.forget()
	}
	w.over = true
	close(w.done)
}
