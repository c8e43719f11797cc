// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"slices"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// fifo holds leased deliveries that wait for a slot, oldest first from head.
type fifo struct {
	jobs []*job
	head int
}

func (f *fifo) len() int { return len(f.jobs) - f.head }

func (f *fifo) first() *job { return f.jobs[f.head] }

func (f *fifo) push(j *job) { f.jobs = append(f.jobs, j) }

func (f *fifo) pop() *job {
	j := f.jobs[f.head]
	f.jobs[f.head] = nil
	f.head++
	if f.head == len(f.jobs) {
		f.jobs, f.head = f.jobs[:0], 0
	} else if f.head >= readyWindow {
		n := copy(f.jobs, f.jobs[f.head:])
		clear(f.jobs[n:])
		f.jobs, f.head = f.jobs[:n], 0
	}
	return j
}

// take takes a delivery out wherever it stands, nil where it does not.
func (f *fifo) take(id store.DeliveryID) *job {
	i := slices.IndexFunc(f.jobs[f.head:], func(j *job) bool { return j.delivery.ID == id })
	if i < 0 {
		return nil
	}
	i += f.head
	j := f.jobs[i]
	f.jobs = slices.Delete(f.jobs, i, i+1)
	return j
}
