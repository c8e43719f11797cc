// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// purgeBatch bounds how many messages one commit of a purge removes, so that
// those who accept do not wait for it.
const purgeBatch = 256

// stretch is a range of message ids, both ends included.
type stretch struct{ first, last store.MessageID }

// Purge removes what has outlived its time, oldest first. It takes many small
// commits, so that those who accept do not wait for it, and waits for the last.
func (s *Store) Purge(ctx context.Context, req store.PurgeRequest) (store.Purged, error) {
	const doing = "purging"
	end, err := s.begin(doing)
	if err != nil {
		return store.Purged{}, err
	}
	defer end()
	purged, err := s.purge(ctx, &req)
	return purged, s.wrap(doing, err)
}

func (s *Store) purge(ctx context.Context, req *store.PurgeRequest) (store.Purged, error) {
	var purged store.Purged
	last, err := s.apply(ctx, func(t *txn) error { return t.expire(req.DedupeWindow) })
	if err != nil {
		return purged, err
	}
	var whole stretch
	sweep := sweep{req: req, excess: req.Excess}
	for !sweep.done && !purged.More {
		if err := firstError(ctx.Err(), s.ended()); err != nil {
			return purged, err
		}
		sweep.room = purgeBatch
		if req.Limit > 0 {
			sweep.room = min(purgeBatch, req.Limit-purged.Messages)
		}
		if last, err = s.apply(ctx, sweep.run); err != nil {
			return purged, err
		}
		if n := len(sweep.found); n > 0 {
			if purged.Messages == 0 {
				whole.first = sweep.found[0].first
			}
			whole.last = sweep.found[n-1].last
		}
		purged.Messages += sweep.messages
		purged.Bytes += sweep.bytes
		purged.More = sweep.full && req.Limit > 0 && purged.Messages >= req.Limit
	}
	if purged.Messages == 0 {
		return purged, last.wait()
	}
	done := s.reclaimLater(whole)
	if err := last.wait(); err != nil || req.Excess <= 0 {
		return purged, err
	}
	return purged, s.reclaimed(ctx, done)
}

// expire removes the buckets of dedupe keys that are older than the window.
func (t *txn) expire(window time.Duration) error {
	t.notes = true // also while nothing comes
	for window > 0 && len(t.s.buckets) > 0 {
		bucket := t.s.buckets[0]
		if !t.s.age.outlived(bucketTime(bucket), bucketLen+window, t.now) {
			return nil
		}
		t.s.buckets = t.s.buckets[1:]
		t.s.filters.drop(bucket)
		if err := t.batch.DeleteRange(appendBucket(nil, bucket), after(appendBucket(nil, bucket)), nil); err != nil {
			return err
		}
	}
	return nil
}

// sweep is a walk over all messages, in steps of one transaction each.
type sweep struct {
	req    *store.PurgeRequest
	after  store.MessageID // how far it has come
	room   int             // how many messages the next step may remove
	excess int64           // how many bytes are to go whatever their age
	done   bool

	messages int       // how many the last step removed
	bytes    int64     // the size of their bodies
	found    []stretch // and where
	full     bool      // it had no room for another one
}

// sweepRows bounds how many deliveries one step looks at.
const sweepRows = 4096

// run is one step.
func (w *sweep) run(t *txn) error {
	w.messages, w.bytes, w.found, w.full = 0, 0, nil, false
	it, err := t.s.iterate([]byte{spaceDelivery})
	if err != nil {
		return err
	}
	defer it.Close()
	heads, err := t.s.iterate([]byte{spaceMessage})
	if err != nil {
		return err
	}
	defer heads.Close()
	rows, open := 0, false
	newest := w.newest(t.now)
	valid := it.SeekGE(append(append([]byte{spaceDelivery}, w.after[:]...), 0xff, 0xff, 0xff, 0xff, 0xff))
	for valid && rows < sweepRows {
		var id store.MessageID
		copy(id[:], it.Key()[1:])
		if id.Time().After(newest) {
			valid = false
			break
		}
		var stays bool
		if stays, rows, valid, err = w.judge(t, it, id, rows); err != nil {
			return err
		}
		if !stays && w.messages == w.room {
			w.full = true
			break
		}
		w.after = id
		if stays {
			open = false
			continue
		}
		if key := appendMessageKey(nil, id); heads.SeekGE(key) && bytes.Equal(heads.Key(), key) {
			size := t.unlist(id, heads.Value())
			w.bytes += size
			w.excess -= size
		}
		w.messages++
		if open {
			w.found[len(w.found)-1].last = id
		} else {
			w.found = append(w.found, stretch{id, id})
			open = true
		}
	}
	w.done = !valid
	for _, f := range w.found {
		if err := t.erase(f.first, f.last); err != nil {
			return err
		}
	}
	if err := heads.Error(); !rotted(err) { // a message that can not be read goes all the same
		return firstError(it.Error(), err)
	}
	return it.Error()
}

// newest returns the time of the newest message that can have outlived its time:
// nothing ends before it has come. Most messages are younger, and not looked at.
func (w *sweep) newest(now time.Time) time.Time {
	if w.excess > 0 {
		return now
	}
	keep := w.req.Finished
	if keep <= 0 || w.req.Dead > 0 && w.req.Dead < keep {
		keep = w.req.Dead
	}
	if keep <= 0 {
		return time.Time{}
	}
	return now.Add(-keep)
}

// judge reads all deliveries of a message and tells whether it has to stay.
func (w *sweep) judge(t *txn, it *pebble.Iterator, id store.MessageID, rows int) (stays bool, n int, valid bool, err error) {
	keep, early := w.req.Finished, w.excess > 0
	var ended time.Time
	for valid = true; valid && [16]byte(it.Key()[1:1+idLen]) == [16]byte(id); valid = it.Next() {
		rows++
		d, err := decodeDelivery(parseDelivery(it.Key()), it.Value())
		if err != nil { // it is not known to have ended
			stays = true
			continue
		}
		switch {
		case d.State.Open(), d.Holds():
			stays = true
		case d.State == store.Dead:
			keep, early = w.req.Dead, false
		}
		for _, at := range [...]time.Time{d.CreatedAt, d.EndedAt} {
			if at.After(ended) {
				ended = at
			}
		}
	}
	if !early && (keep <= 0 || !t.s.age.outlived(ended, keep, t.now)) {
		stays = true
	}
	return stays, rows, valid, it.Error()
}

// unlist deletes the listing keys of a message and returns the size of its body.
// One that can not be read any more goes without.
func (t *txn) unlist(id store.MessageID, message []byte) (size int64) {
	head, body, err := splitMessage(message)
	if err != nil {
		return int64(len(message))
	}
	if m, err := decodeHead(id, head); err == nil {
		t.list(m, func(key, _ []byte) { _ = t.batch.SingleDelete(key, nil) })
	}
	return int64(len(body))
}

// erase removes a stretch of messages with their deliveries and attempts.
func (t *txn) erase(first, last store.MessageID) error {
	for _, space := range [...]byte{spaceMessage, spaceDelivery, spaceAttempt, spaceDead} {
		from := append([]byte{space}, first[:]...)
		to := after(append([]byte{space}, last[:]...))
		if err := t.batch.DeleteRange(from, to, nil); err != nil {
			return err
		}
	}
	return nil
}
