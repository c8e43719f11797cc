// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"slices"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// fifo holds leased deliveries that wait for a slot, oldest first from head.
type fifo struct {
	list []*leased
	head int
}

func (f *fifo) len() int { return len(f.list) - f.head }

func (f *fifo) first() *leased { return f.list[f.head] }

func (f *fifo) push(j *leased) { f.list = append(f.list, j) }

func (f *fifo) pop() *leased {
	j := f.list[f.head]
	f.list[f.head] = nil
	f.head++
	if f.head == len(f.list) {
		f.list, f.head = f.list[:0], 0
	} else if f.head >= readyWindow {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
	return j
}

// take takes a delivery out wherever it stands, nil where it does not.
func (f *fifo) take(id store.DeliveryID) *leased {
	i := slices.IndexFunc(f.list[f.head:], func(j *leased) bool { return j.delivery.ID == id })
	if i < 0 {
		return nil
	}
	i += f.head
	j := f.list[i]
	f.list = slices.Delete(f.list, i, i+1)
	return j
}
