// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// BacklogLimit bounds what a source may have waiting to be delivered.
type BacklogLimit struct {
	// Source is the name of the source.
	Source string

	// Max is how large the backlog of the source may be, in bytes. See Backlogs.
	Max int64

	// Reserve says that the last quarter is only for messages whose senders never
	// send again by themselves.
	Reserve bool
}

// Backlogs returns how large the backlogs of all sources are, in bytes, by the
// books of their destinations: the bodies of the open deliveries, and about 1 KiB
// for each beside. Those to destinations that are not in force any more count too.
func Backlogs(books map[string]store.Books) map[string]int64 {
	sum := make(map[string]int64)
	for destination, b := range books {
		source, _, _ := strings.Cut(destination, ":")
		sum[source] += int64(b.OpenBytes + b.Open*entrySize)
	}
	return sum
}

// How often the books are looked at while something comes, and how often where
// something would have to be refused.
const (
	backlogEvery = 500 * time.Millisecond
	backlogFull  = 20 * time.Millisecond
)

// backlogs decides whether there is room for a message in the backlog of its
// source. What the books say is out of date soon, so that all that was accepted
// since then is added to it: a limit is never passed.
type backlogs struct {
	session  *session
	bySource atomic.Pointer[map[string]*backlog] // of the sources that have a limit; nil for none
	looked   atomic.Int64                        // when, in the session
	looking  sync.Mutex                          // held by who looks, or changes the limits
}

// backlog is what one source has waiting.
type backlog struct {
	max, most int64 // for the last and for all others
	*backlogCounts
}

// backlogCounts outlive a change of the limit.
type backlogCounts struct {
	flight   atomic.Int64 // bytes whose commit is under way
	accepted atomic.Int64 // bytes that were committed since the session began
	base     atomic.Int64 // by the books, less what had been accepted before them
}

// limit changes the limits, which hold at once.
func (b *backlogs) limit(limits []BacklogLimit) {
	b.looking.Lock()
	defer b.looking.Unlock()
	if len(limits) == 0 {
		b.bySource.Store(nil)
		return
	}
	former := b.bySource.Load()
	all := make(map[string]*backlog, len(limits))
	for _, l := range limits {
		one := &backlog{max: l.Max, most: l.Max, backlogCounts: new(backlogCounts)}
		if l.Reserve {
			one.most -= l.Max / 4
		}
		if former != nil && (*former)[l.Source] != nil {
			one.backlogCounts = (*former)[l.Source].backlogCounts
		}
		all[l.Source] = one
	}
	b.bySource.Store(&all)
	b.look(all)
}

// of returns the backlog of a source, nil where it has no limit.
func (b *backlogs) of(source string) *backlog {
	if all := b.bySource.Load(); all != nil {
		return (*all)[source]
	}
	return nil
}

// admit takes room for a message of so many bytes, which release or settle gives
// back, or returns ErrBacklog. The backlog is nil where the source has no limit.
func (b *backlogs) admit(source string, n int64, last bool) (*backlog, error) {
	one := b.of(source)
	if one == nil {
		return nil, nil
	}
	b.lookAfter(backlogEvery)
	if one.take(n, last) || b.lookAfter(backlogFull) && one.take(n, last) {
		return one, nil
	}
	return nil, ErrBacklog
}

// full reports whether there is no room for any message.
func (b *backlogs) full(source string, last bool) bool {
	one, err := b.admit(source, entrySize, last)
	one.settle(entrySize, false)
	return err != nil
}

// take takes room, or reports that there is none.
func (o *backlog) take(n int64, last bool) bool {
	most := o.most
	if last {
		most = o.max
	}
	if o.flight.Add(n)+o.accepted.Load()+o.base.Load() > most {
		o.flight.Add(-n)
		return false
	}
	return true
}

// settle ends what admit has begun, with whether the message was accepted.
func (o *backlog) settle(n int64, accepted bool) {
	if o == nil {
		return
	}
	if accepted {
		o.accepted.Add(n)
	}
	o.flight.Add(-n)
}

// lookAfter looks at the books unless that was done within the last d or is being
// done, and reports whether it did.
func (b *backlogs) lookAfter(d time.Duration) bool {
	if b.session.age()-time.Duration(b.looked.Load()) < d || !b.looking.TryLock() {
		return false
	}
	defer b.looking.Unlock()
	all := b.bySource.Load()
	if all == nil {
		return false
	}
	b.look(*all)
	return true
}

// look reads the books. While they can not be read, what was accepted adds up; a
// store that has failed says so to who accepts.
func (b *backlogs) look(all map[string]*backlog) {
	b.looked.Store(int64(b.session.age()))
	before := make(map[string]int64, len(all))
	for source, one := range all {
		before[source] = one.accepted.Load()
	}
	books, err := b.session.store.Books(context.Background())
	if err != nil {
		return
	}
	sizes := Backlogs(books)
	for source, one := range all {
		one.base.Store(sizes[source] - before[source])
	}
}

// backlogSize returns what a message takes in the backlog of its source.
func backlogSize(in *Inbound) int64 {
	return (int64(len(in.Message.Request.Body)) + entrySize) * int64(len(in.Targets))
}
