// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay"
)

// reading returns a reader of a body, of announced size unless that is unknown.
func reading(body io.Reader, size, limit int64, budget *relay.Budget) (*bodyReader, *relay.Reservation) {
	reservation := budget.Reserve("test")
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.ContentLength = size
	b := newBodyReader(httptest.NewRecorder(), r, limit, reservation)
	return &b, reservation
}

func TestBodyIsReadByteForByte(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, bodyStep - 1, bodyStep, bodyStep + 1, 1 << 20} {
		want := bytes.Repeat([]byte("a\x00\xffé"), size/5+1)[:size]
		for name, announced := range map[string]int64{"announced": int64(size), "chunked": -1} {
			budget := relay.NewBudget(4 << 20)
			b, reservation := reading(iotest.HalfReader(bytes.NewReader(want)), announced, 1<<20, budget)
			got, err := b.read()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %d bytes: got %d bytes, %v", name, size, len(got), err)
			}
			if announced >= 0 && cap(got) != size {
				t.Errorf("%s, %d bytes: the buffer has room for %d", name, size, cap(got))
			}
			if budget.Used() < int64(cap(got)) {
				t.Errorf("%s, %d bytes: %d of the budget taken for a buffer of %d", name, size, budget.Used(), cap(got))
			}
			reservation.Release()
			if budget.Used() != 0 {
				t.Errorf("%d of the budget still taken", budget.Used())
			}
		}
	}
}

func TestBodyOverTheLimitIsRefusedUnread(t *testing.T) {
	read := 0
	counting := readerFunc(func(p []byte) (int, error) { read += len(p); return len(p), nil })
	b, _ := reading(counting, 101, 100, relay.NewBudget(1<<20))
	if _, err := b.read(); !errors.Is(err, errTooLarge) || read != 0 {
		t.Errorf("announced: %v after %d bytes", err, read)
	}
	b, _ = reading(counting, -1, 100, relay.NewBudget(1<<20))
	if _, err := b.read(); !errors.Is(err, errTooLarge) || read > 101 {
		t.Errorf("chunked: %v after %d bytes", err, read)
	}
}

func TestBodyLimitItselfIsTaken(t *testing.T) {
	b, _ := reading(bytes.NewReader(make([]byte, 100)), -1, 100, relay.NewBudget(1<<20))
	if got, err := b.read(); err != nil || len(got) != 100 {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestP10_AnnouncedBodyTakesLittleBeforeItComes(t *testing.T) {
	budget := relay.NewBudget(1 << 30)
	taken := int64(-1)
	b, _ := reading(readerFunc(func([]byte) (int, error) { taken = budget.Used(); return 0, io.ErrUnexpectedEOF }), 1<<20, 1<<20, budget)
	if _, err := b.read(); err == nil || taken != bodyStart {
		t.Errorf("%d bytes of the budget were taken before the first byte came, want %d; %v", taken, bodyStart, err)
	}
}

func TestP10_BodyOfUnknownSizeFitsTheLeastBudget(t *testing.T) {
	const limit = 1 << 20
	least := relay.NewBudget(2 * (limit + bodyStep))
	b, reservation := reading(bytes.NewReader(make([]byte, limit)), -1, limit, least)
	if got, err := b.read(); err != nil || len(got) != limit {
		t.Errorf("a body of the limit: %d bytes, %v", len(got), err)
	}
	reservation.Release()
	b, _ = reading(bytes.NewReader(make([]byte, limit+1)), -1, limit, least)
	if _, err := b.read(); !errors.Is(err, errTooLarge) {
		t.Errorf("a body over the limit: %v", err)
	}
}

func TestP10_BodyIsRefusedWhenMemoryRunsOut(t *testing.T) {
	budget := relay.NewBudget(4 * bodyStep)
	other := budget.Reserve("other")
	if !other.Grow(2*bodyStep - 1) {
		t.Fatal("no memory to begin with")
	}
	read := 0
	endless := readerFunc(func(p []byte) (int, error) { read += len(p); return len(p), nil })
	b, reservation := reading(endless, 1<<20, 1<<20, budget)
	if _, err := b.read(); !errors.Is(err, errNoMemory) {
		t.Errorf("read: %v", err)
	}
	if read > 2*bodyStep {
		t.Errorf("%d bytes were read before the refusal", read)
	}
	reservation.Release()
	if budget.Used() != 2*bodyStep-1 {
		t.Errorf("%d of the budget taken after the release", budget.Used())
	}
}

func TestBodyLimitOfAnEarlierHandlerIsARefusalToo(t *testing.T) {
	limited := http.MaxBytesReader(nil, io.NopCloser(bytes.NewReader(make([]byte, 100))), 10)
	b, _ := reading(limited, -1, 1<<20, relay.NewBudget(1<<20))
	if _, err := b.read(); !errors.Is(err, errTooLarge) {
		t.Errorf("read: %v", err)
	}
}

// timedWriter notes the deadlines that are set.
type timedWriter struct {
	http.ResponseWriter
	deadlines []time.Time
}

func (w *timedWriter) SetReadDeadline(at time.Time) error {
	w.deadlines = append(w.deadlines, at)
	return nil
}

func TestBodyDeadlineGrowsWithWhatArrives(t *testing.T) {
	w := &timedWriter{ResponseWriter: httptest.NewRecorder()}
	b, _ := reading(bytes.NewReader(make([]byte, 1<<20)), 1<<20, 1<<20, relay.NewBudget(4<<20))
	b.response = w
	b.started = b.started.Add(-bodyTime / 2) // slow enough for the deadline to be near
	if _, err := b.read(); err != nil {
		t.Fatal(err)
	}
	deadlines := w.deadlines
	if first := deadlines[0].Sub(b.started); first != bodyTime {
		t.Errorf("the first deadline is %s after the start", first)
	}
	if !deadlines[len(deadlines)-1].IsZero() {
		t.Error("the deadline stays after the body")
	}
	last := deadlines[len(deadlines)-2].Sub(b.started)
	if last <= bodyTime || last > bodyTime+4*time.Second {
		t.Errorf("the last deadline is %s after the start", last)
	}
}

func TestBodyThatBreaksOffIsNoBody(t *testing.T) {
	b, _ := reading(iotest.ErrReader(io.ErrUnexpectedEOF), 10, 100, relay.NewBudget(1<<20))
	if _, err := b.read(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
