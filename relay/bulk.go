// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// bulkGap is the time between two pages of a job, in which others have the
	// store and what was changed is claimed.
	bulkGap = 20 * time.Millisecond

	// haltGap is how often a job looks whether a destination that is down or paused
	// still is.
	haltGap = time.Second
)

// bulk carries out one job, in one goroutine.
type bulk struct {
	bulks *bulks
	job   *store.Job
	stop  context.CancelFunc
	done  chan struct{}

	// moved says that the store does not know yet how far the job has come.
	moved bool

	// taken are the destinations to which the message of that id was replayed.
	message store.MessageID
	taken   []string
}

func newBulk(bs *bulks, job *store.Job) *bulk {
	return &bulk{bulks: bs, job: job, done: make(chan struct{})}
}

// run works on the job until it ends or ctx does.
func (b *bulk) run(ctx context.Context) {
	defer close(b.done)
	for ctx.Err() == nil {
		wait, err := b.step(ctx)
		if err != nil && ctx.Err() == nil {
			b.fail(err)
		}
		for err = b.save(); err != nil; err = b.save() {
			b.bulks.session.storeError("keeping how far a job has come", err)
			if !b.bulks.wait(ctx, finishRetry) {
				return
			}
		}
		if b.job.State != store.JobRunning {
			b.tell()
			return
		}
		b.bulks.wait(ctx, wait)
	}
}

// fail ends the job for an error, until an operator resumes it.
func (b *bulk) fail(err error) {
	s := b.bulks.session
	if errors.Is(err, store.ErrFailed) {
		s.storeError("working on a job", err) // it goes on when the store is back
		return
	}
	b.job.State, b.job.Error, b.moved = store.JobFailed, errorText(err), true
	s.engine.log.Error("job has failed: it can be resumed", zap.String("job", b.job.ID), zap.Error(err))
}

// tell says that the job has ended.
func (b *bulk) tell() {
	b.bulks.session.engine.log.Info("job has ended", zap.String("job", b.job.ID), zap.String("action", string(b.job.Action)),
		zap.String("state", string(b.job.State)), zap.Uint64("done", b.job.Done), zap.Uint64("skipped", b.job.Skipped))
}

// step takes up one page, and returns how long to wait before the next.
func (b *bulk) step(ctx context.Context) (time.Duration, error) {
	if b.bulks.session.engine.inForce() == nil {
		return haltGap, nil // nobody can tell yet which destinations there are
	}
	before, after := b.job.Done, b.job.Query.After
	page, err := b.page(ctx)
	if err != nil {
		return 0, err
	}
	b.job.Query.After = after
	var changed []store.Delivery
	defer func() {
		for i := range changed {
			b.bulks.session.changed(&changed[i])
		}
	}()
	for i := range page {
		d := &page[i]
		to, ok, err := b.applies(ctx, d)
		if err != nil {
			return 0, err
		}
		if ok {
			if gap := b.hold(to); gap > 0 {
				return gap, nil
			}
			if b.putOff(to) {
				ok = false
			}
		}
		if ok {
			c, err := b.change(context.WithoutCancel(ctx), d, to)
			if err != nil {
				return 0, err
			}
			if c.State != 0 {
				changed = append(changed, c)
			}
		}
		b.job.Query.After, b.moved = d.ID, true
		if ctx.Err() != nil {
			return 0, nil
		}
	}
	if len(page) < b.limit() {
		return b.next(), nil
	}
	return max(bulkGap, b.pace(b.job.Done-before)), nil
}

// limit is how many deliveries are taken up at once: with a rate, those of a
// fifth of a second.
func (b *bulk) limit() int {
	if b.job.Rate > 0 {
		return min(jobPage, max(1, b.job.Rate/5))
	}
	return jobPage
}

// pace is how long n changes take at the job's rate.
func (b *bulk) pace(n uint64) time.Duration {
	if b.job.Rate == 0 {
		return 0
	}
	return time.Duration(n) * time.Second / time.Duration(b.job.Rate)
}

// page returns the next deliveries of the present pass, and moves behind them.
func (b *bulk) page(ctx context.Context) ([]store.Delivery, error) {
	q := b.job.Query
	if b.job.Pass != "" {
		q.Destination = b.job.Pass
	}
	q.Limit = b.limit()
	page, err := b.bulks.session.store.ListDeliveries(ctx, q)
	if len(page) > 0 {
		b.job.Query.After = page[len(page)-1].ID
	}
	return page, err
}

// applies reports whether the job has to change a delivery, and which destination
// is concerned. What came after the job is none of its; neither is a replay of a
// message that is on its way to the destination anyway.
func (b *bulk) applies(ctx context.Context, d *store.Delivery) (destination string, ok bool, err error) {
	began := b.job.CreatedAt
	if !d.Since.Before(began) {
		return "", false, nil
	}
	if b.job.Action != store.ActionReplay {
		return d.Destination, true, nil
	}
	to := b.job.To
	if to == "" {
		to = d.Destination
	}
	if b.message != d.ID.Message {
		all, err := b.bulks.session.store.Deliveries(ctx, d.ID.Message)
		if errors.Is(err, store.ErrNotFound) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		b.message, b.taken = d.ID.Message, b.taken[:0]
		for i := range all {
			if all[i].State.Open() || !all[i].Since.Before(began) {
				b.taken = append(b.taken, all[i].Destination)
			}
		}
	}
	if slices.Contains(b.taken, to) {
		return "", false, nil
	}
	b.taken = append(b.taken, to)
	return to, true, nil
}

// change does to a delivery what the job is for. The delivery it returns is zero
// where nothing was to be done any more.
func (b *bulk) change(ctx context.Context, d *store.Delivery, to string) (changed store.Delivery, err error) {
	st := b.bulks.session.store
	switch b.job.Action {
	case store.ActionRedrive:
		changed, err = st.Redrive(ctx, d.ID)
	case store.ActionReplay:
		changed, err = st.Replay(ctx, d.ID.Message, to)
	case store.ActionCancel:
		changed, err = st.Cancel(ctx, d.ID)
	default:
		err = fmt.Errorf("unknown action %q: %w", b.job.Action, store.ErrInvalid)
	}
	if passed(err) {
		b.job.Skipped++
		return store.Delivery{}, nil
	}
	if err == nil {
		b.job.Done++
	}
	return changed, err
}

// save keeps in the store how far the job has come.
func (b *bulk) save() error {
	if !b.moved {
		return nil
	}
	err := b.bulks.session.store.PutEntity(context.Background(), b.job)
	b.moved = err != nil
	return err
}
