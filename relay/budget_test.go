// SPDX-License-Identifier: Apache-2.0

package relay

import "testing"

func TestP10_OneSourceGetsHalfOfTheMemory(t *testing.T) {
	b := NewBudget(100)
	first, second, third := b.Reserve("a"), b.Reserve("a"), b.Reserve("b")
	if !first.Grow(40) || second.Grow(11) || !second.Grow(10) || second.Grow(1) {
		t.Error("one source does not get exactly half")
	}
	if !third.Grow(50) || third.Grow(1) {
		t.Error("the other does not get the rest")
	}
	if b.Used() != 100 {
		t.Errorf("%d used", b.Used())
	}
	for _, r := range []*Reservation{first, second, third, first, nil} {
		r.Release()
	}
	if b.Used() != 0 || len(b.bySource) != 0 {
		t.Errorf("%d used, by %v", b.Used(), b.bySource)
	}
}

func TestP10_TheReserveIsForSendersThatAreShedLast(t *testing.T) {
	b := NewBudget(100)
	b.SetReserve(true)
	if !b.Reserve("a").Grow(50) || !b.Reserve("b").Grow(25) {
		t.Fatal("three quarters are not there")
	}
	if b.Reserve("c").Grow(1) {
		t.Error("the reserve is given away")
	}
	if !b.ReserveLast("d").Grow(25) || b.ReserveLast("e").Grow(1) {
		t.Error("who is shed last does not get exactly the reserve")
	}
	b = NewBudget(100)
	if !b.Reserve("a").Grow(50) || !b.Reserve("b").Grow(50) {
		t.Error("a reserve is kept for nobody")
	}
}
