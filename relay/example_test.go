// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// app is a Deliverer that fails at first.
type app struct{ done chan struct{} }

func (a *app) Deliver(_ context.Context, attempt relay.Attempt) relay.Result {
	if attempt.Number == 1 {
		fmt.Println("attempt 1 fails")
		return relay.Result{Outcome: store.Refused, Status: http.StatusInternalServerError}
	}
	fmt.Printf("attempt %d delivers %s\n", attempt.Number, attempt.Message.Request.Body)
	close(a.done)
	return relay.Result{Outcome: store.Succeeded, Status: http.StatusOK}
}

func Example() {
	ctx := context.Background()
	engine := relay.New(relay.Options{
		Open: func(context.Context) (store.Store, error) { return memory.New(memory.Options{}), nil },
	})
	destination := &app{done: make(chan struct{})}
	id := relay.DestinationID("shop", "default")
	engine.Attach(&relay.Generation{
		Destinations: []relay.Destination{{
			ID: id, Deliverer: destination, Retry: retry.Rule{Policy: retry.Fixed{Every: 10 * time.Millisecond}},
		}},
		DedupeWindow: 24 * time.Hour,
	})
	if err := engine.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	order := func() relay.Inbound {
		return relay.Inbound{
			Message: &store.Message{
				Source: "shop", ReceivedAt: time.Now().UTC(),
				Request: store.Request{Method: http.MethodPost, URI: "/orders", Body: []byte(`{"order":42}`)},
			},
			Identity: [][]byte{[]byte("order-42")},
			Window:   24 * time.Hour,
			Targets:  []relay.Target{{Destination: id}},
		}
	}
	receipt, err := engine.Accept(ctx, order())
	fmt.Println(receipt.Verdict, err)
	<-destination.done
	receipt, err = engine.Accept(ctx, order())
	fmt.Println("duplicate:", receipt.Verdict != store.Fresh, err)

	engine.Drain(ctx)
	fmt.Println("closed:", engine.Close())
	// Unordered output:
	// fresh <nil>
	// attempt 1 fails
	// attempt 2 delivers {"order":42}
	// duplicate: true <nil>
	// closed: <nil>
}
