// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestStatusOfDestinations(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		slow := &upstream{answer: hangs}
		r.Attach(r.to(
			Destination{ID: "d", Deliverer: r.upstream},
			Destination{ID: "idle", Deliverer: r.upstream},
			Destination{ID: "slow", Deliverer: slow, MaxInFlight: 2, Timeout: time.Hour},
		))
		began := time.Now()
		for i := range 5 {
			r.accept(fmt.Sprint(i), "d", "gone", "slow")
		}
		settle(time.Minute)
		r.pause("idle")
		list, err := r.Destinations(t.Context())
		if err != nil || len(list) != 4 {
			t.Fatalf("%d destinations, error %v", len(list), err)
		}
		d, gone, idle, hung := list[0], list[1], list[2], list[3]
		if d.Destination != "d" || !d.InForce || d.Down || d.Books.Delivered != 5 || !d.OldestOpen.IsZero() || d.Pause != nil {
			t.Errorf("d is %+v", d)
		}
		if gone.Destination != "gone" || gone.InForce || gone.Books.Open != 5 || !gone.OldestOpen.Equal(began.Truncate(time.Millisecond)) {
			t.Errorf("gone is %+v", gone)
		}
		if idle.Destination != "idle" || !idle.InForce || idle.Books != (store.Books{}) || idle.Pause == nil || idle.Pause.Reason != "maintenance" {
			t.Errorf("idle is %+v", idle)
		}
		if hung.Destination != "slow" || hung.Running != 2 || hung.Ready != 3 {
			t.Errorf("slow is %+v", hung)
		}
		slow.set(refuses)
		settle(2 * time.Hour)
		if list, err = r.Destinations(t.Context()); err != nil || !list[3].Down {
			t.Errorf("slow is %+v, error %v, want it down", list[3], err)
		}
	})
}
