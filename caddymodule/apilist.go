// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// defaultPage and maxPage are how many rows a list has.
	defaultPage = 100
	maxPage     = 1000
)

// messagesPage is one page of messages. Next, where it is set, is the cursor of
// the next one.
type messagesPage struct {
	Messages []messageView `json:"messages"`
	Next     string        `json:"next,omitempty"`
}

// deliveriesPage is one page of deliveries.
type deliveriesPage struct {
	Deliveries []deliveryView `json:"deliveries"`
	Next       string         `json:"next,omitempty"`
}

// listMessages answers GET /relay/messages.
func listMessages(c *call) (int, any, error) {
	q, found, err := list(c, parseMessageQuery, store.Store.ListMessages)
	if err != nil {
		return 0, nil, err
	}
	if len(found) == 0 {
		if err := c.checkNames(q.Source, ""); err != nil {
			return 0, nil, err
		}
	}
	page := messagesPage{Messages: views(found, viewMessage)}
	if len(found) == q.Limit {
		page.Next = page.Messages[len(found)-1].ID
	}
	return http.StatusOK, page, nil
}

// listDeliveries answers GET /relay/deliveries.
func listDeliveries(c *call) (int, any, error) {
	q, found, err := list(c, parseDeliveryQuery, store.Store.ListDeliveries)
	if err != nil {
		return 0, nil, err
	}
	if len(found) == 0 {
		if err := c.checkNames(q.Source, q.Destination); err != nil {
			return 0, nil, err
		}
	}
	page := deliveriesPage{Deliveries: views(found, viewListed)}
	if len(found) == q.Limit {
		page.Next = page.Deliveries[len(found)-1].ID
	}
	return http.StatusOK, page, nil
}

// list reads what a call asks for, and finds a page of it.
func list[Query, Row any](c *call, parse func(raw string, now time.Time) (Query, error),
	find func(store.Store, context.Context, Query) ([]Row, error),
) (q Query, found []Row, err error) {
	if q, err = parse(c.URL.RawQuery, time.Now()); err != nil {
		return q, nil, err
	}
	st, err := c.engine.Store()
	if err != nil {
		return q, nil, err
	}
	found, err = find(st, c.Context(), q)
	return q, found, err
}

// views returns what operators see of the rows of a list, which is never null.
func views[Row, View any](rows []Row, view func(*Row) View) []View {
	all := make([]View, 0, len(rows))
	for i := range rows {
		all = append(all, view(&rows[i]))
	}
	return all
}

// viewListed shows a delivery in a list, where nothing secret is revealed.
func viewListed(d *store.Delivery) deliveryView { return viewDelivery(d, false) }

// showMessage answers GET /relay/messages/{message}.
func showMessage(c *call) (int, any, error) {
	id, err := parseMessageID(c.PathValue("message"))
	if err != nil {
		return 0, nil, err
	}
	st, err := c.engine.Store()
	if err != nil {
		return 0, nil, err
	}
	m, err := st.Message(c.Context(), id)
	if err != nil {
		return 0, nil, err
	}
	deliveries, err := st.Deliveries(c.Context(), id)
	if err != nil {
		return 0, nil, err
	}
	view := viewMessage(m)
	view.Request = viewRequest(&m.Request, c.app.AdminReveal)
	for i := range deliveries {
		v, err := c.fullDelivery(st, &deliveries[i])
		if err != nil {
			return 0, nil, err
		}
		view.Deliveries = append(view.Deliveries, v)
	}
	if c.app.AdminReveal {
		c.audit("reveal", zap.Stringer("message", id))
	}
	return http.StatusOK, view, nil
}

// showDelivery answers GET /relay/deliveries/{message}/{n}.
func showDelivery(c *call) (int, any, error) {
	id, err := c.deliveryID()
	if err != nil {
		return 0, nil, err
	}
	st, err := c.engine.Store()
	if err != nil {
		return 0, nil, err
	}
	deliveries, err := st.Deliveries(c.Context(), id.Message)
	if err != nil {
		return 0, nil, err
	}
	i := slices.IndexFunc(deliveries, func(d store.Delivery) bool { return d.ID == id })
	if i < 0 {
		return 0, nil, fmt.Errorf("delivery %s: %w", id, store.ErrNotFound)
	}
	view, err := c.fullDelivery(st, &deliveries[i])
	if err != nil {
		return 0, nil, err
	}
	if c.app.AdminReveal {
		c.audit("reveal", zap.Stringer("delivery", id))
	}
	return http.StatusOK, view, nil
}

// fullDelivery shows a delivery with its attempts.
func (c *call) fullDelivery(st store.Store, d *store.Delivery) (deliveryView, error) {
	attempts, err := st.Attempts(c.Context(), d.ID)
	if err != nil {
		return deliveryView{}, err
	}
	v := viewDelivery(d, c.app.AdminReveal)
	v.Tried = viewAttempts(attempts, c.app.AdminReveal)
	return v, nil
}

// deliveryID reads the id of a delivery from the path of a call.
func (c *call) deliveryID() (store.DeliveryID, error) {
	return parseDeliveryID(c.PathValue("message") + "/" + c.PathValue("n"))
}

// parseMessageID reads the id of a message as it is shown.
func parseMessageID(text string) (store.MessageID, error) {
	id, err := store.ParseMessageID(text)
	if err != nil {
		return id, fmt.Errorf("'%s' is no message id, which is msg_ and 26 letters and digits: %w", text, store.ErrInvalid)
	}
	return id, nil
}

// parseDeliveryID reads the id of a delivery as it is shown.
func parseDeliveryID(text string) (store.DeliveryID, error) {
	message, number, _ := strings.Cut(text, "/")
	id, err := store.ParseMessageID(message)
	n, numberErr := strconv.ParseUint(number, 10, 32)
	if err != nil || numberErr != nil || n == 0 || strconv.FormatUint(n, 10) != number {
		return store.DeliveryID{}, fmt.Errorf("'%s' is no delivery id, which is a message id, a slash and a number: %w", text, store.ErrInvalid)
	}
	return store.DeliveryID{Message: id, N: uint32(n)}, nil
}
