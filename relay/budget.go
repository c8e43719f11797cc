// SPDX-License-Identifier: Apache-2.0

package relay

import "sync"

// Budget bounds the memory that bodies take from the first byte read until the
// message is delivered or safely on disk. Nobody waits for memory: who finds
// none is refused at once, so that no one holds bytes while waiting for others.
//
// While a reserve is kept, the last quarter is only for senders that never send
// again by themselves: what they are refused is lost.
type Budget struct {
	mu       sync.Mutex
	limit    int64
	reserve  bool
	used     int64
	bySource map[string]int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, bySource: make(map[string]int64)}
}

// SetLimit changes the limit. What is taken stays taken.
func (b *Budget) SetLimit(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

// SetReserve says whether a reserve is kept.
func (b *Budget) SetReserve(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserve = on
}

// room returns how many bytes may be taken in all.
func (b *Budget) room(shedLast bool) int64 {
	if b.reserve && !shedLast {
		return b.limit - b.limit/4
	}
	return b.limit
}

// Used returns how many bytes are taken.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Reserve starts a reservation of no bytes for a source.
func (b *Budget) Reserve(source string) *Reservation {
	return &Reservation{budget: b, source: source}
}

// ReserveLast is Reserve for a source whose sender never sends again by itself.
// Its reservation may use the reserve.
func (b *Budget) ReserveLast(source string) *Reservation {
	return &Reservation{budget: b, source: source, shedLast: true}
}

// Reservation is a part of a Budget. Its methods must not be called by two
// goroutines at once.
type Reservation struct {
	budget   *Budget
	source   string
	shedLast bool
	taken    int64
}

// Grow takes n more bytes and reports whether they were there. One source gets
// at most half of the budget, so that it can not shut out the others.
func (r *Reservation) Grow(n int64) bool {
	b := r.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.room(r.shedLast) || b.bySource[r.source]+n > b.limit/2 {
		return false
	}
	b.used += n
	b.bySource[r.source] += n
	r.taken += n
	return true
}

// spare reports whether the bytes may stay taken once the message is durable,
// and could be read from the store instead. Such bytes get half of the budget
// and of the source's part at most, so that deliveries that wait for a slow
// destination never keep new messages out.
func (r *Reservation) spare() bool {
	b := r.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used <= b.limit/2 && b.bySource[r.source] <= b.limit/4
}

// Release gives all bytes back. It may be called on nil and more than once.
func (r *Reservation) Release() {
	if r == nil || r.taken == 0 {
		return
	}
	b := r.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= r.taken
	if b.bySource[r.source] -= r.taken; b.bySource[r.source] == 0 {
		delete(b.bySource, r.source)
	}
	r.taken = 0
}
