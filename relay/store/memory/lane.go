// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// laneName identifies a lane.
type laneName struct{ destination, key string }

func laneOf(d *store.Delivery) laneName { return laneName{d.Destination, d.OrderKey} }

// join puts a new delivery at the end of the lane of a key, if it has one.
func (s *Store) join(d *store.Delivery, key string) {
	if key == "" {
		return
	}
	d.OrderKey = key
	s.place++
	d.Place = s.place
	lane := s.lanes[laneOf(d)]
	if len(lane) > 0 {
		d.DueAt = time.Time{}
	}
	s.lanes[laneOf(d)] = append(lane, d)
	s.index(d)
}

// leave takes a delivery that has ended out of its lane, if it is in one, and
// reports whether the next one is due by that.
func (s *Store) leave(d *store.Delivery, now time.Time) (released bool) {
	if d.Place == 0 {
		return false
	}
	d.Place = 0
	name := laneOf(d)
	lane := s.lanes[name]
	i := slices.Index(lane, d)
	lane = slices.Delete(lane, i, i+1)
	if len(lane) == 0 {
		delete(s.lanes, name)
		return false
	}
	s.lanes[name] = lane
	if i > 0 {
		return false
	}
	lane[0].DueAt, lane[0].Since = now, now
	if _, ok := s.messages[lane[0].ID.Message]; ok {
		s.index(lane[0])
	}
	return true
}
