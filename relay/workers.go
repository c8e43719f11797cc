// SPDX-License-Identifier: Apache-2.0

package relay

import "sync/atomic"

// maxIdle is how many workers are kept without work.
const maxIdle = 128

// workers run attempts, each on a goroutine of its own. Some goroutines are
// kept, because the stack of one that has run an attempt has grown to what the
// next one needs. How many run at once is the scheduler's decision.
type workers struct {
	// do carries out a task and returns the one to go on with, if there is one.
	do    func(action) (next action, more bool)
	tasks chan action
	quit  chan struct{}
	idle  atomic.Int32
}

func newWorkers(do func(action) (next action, more bool)) *workers {
	return &workers{do: do, tasks: make(chan action), quit: make(chan struct{})}
}

// run hands a task to an idle worker, or to a new one.
func (w *workers) run(a action) {
	select {
	case w.tasks <- a:
	default:
		go w.work(a)
	}
}

func (w *workers) work(a action) {
	for {
		for more := true; more; {
			a, more = w.do(a)
		}
		if w.idle.Add(1) > maxIdle {
			w.idle.Add(-1)
			return
		}
		select {
		case a = <-w.tasks:
			w.idle.Add(-1)
		case <-w.quit:
			return
		}
	}
}

// close lets idle workers go; those at work follow when they are done.
func (w *workers) close() { close(w.quit) }
