// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var entityChecks = []check{
	{"comes_back_as_it_was", checkEntityWhole},
	{"with_nothing_but_an_id_comes_back", checkEntityBare},
	{"is_updated_at_its_revision_only", checkEntityRevision},
	{"keeps_its_creation_time", checkEntityTimes},
	{"is_deleted", checkEntityDelete},
	{"of_one_tenant_and_kind_stays_there", checkEntityApart},
	{"is_listed_by_id_in_pages", checkEntityPages},
	{"is_not_shared_with_the_caller", checkEntityOwned},
	{"without_an_id_is_refused", checkEntityInvalid},
}

// entities returns one entity of each kind, with all fields set where full.
func entities(tenant, id string, full bool) []store.Entity {
	if !full {
		return []store.Entity{
			&store.Tenant{ID: id}, &store.Endpoint{Tenant: tenant, ID: id}, &store.Subscription{Tenant: tenant, ID: id},
			&store.Secret{Tenant: tenant, ID: id}, &store.EventType{Tenant: tenant, ID: id},
			&store.Pause{Destination: id},
			&store.Job{ID: id},
		}
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)
	return []store.Entity{
		&store.Tenant{ID: id, Name: "Shop \u2615 & Sons", Disabled: true, Labels: map[string]string{"plan": "pro", "": "empty", "x": ""}},
		&store.Endpoint{
			Tenant: tenant, ID: id, URL: "https://example.com/hook?a=b", Description: "orders", Scheme: "standard_webhooks",
			Header: map[string]string{"X-A": "1", "X-B": ""}, Disabled: true, DisabledReason: "410 gone", DisabledAt: at,
			Labels: map[string]string{"env": "test"},
		},
		&store.Subscription{Tenant: tenant, ID: id, Endpoint: "ep", Events: []string{"order.*", "", "invoice.paid"}, Filter: "a > 1"},
		&store.Secret{Tenant: tenant, ID: id, Endpoint: "ep", Value: []byte("whsec_\x00\xff\n"), NotBefore: at, NotAfter: at.Add(time.Hour)},
		&store.EventType{Tenant: tenant, ID: id, Description: "paid", Schema: []byte(`{"type":"object"}`), Example: []byte("{\n}"), Deprecated: true},
		&store.Pause{Destination: id, Reason: "moving the ledger \u2615"},
		&store.Job{
			ID: id, Action: store.ActionReplay, To: "shop:ledger", Rate: 100, By: "127.0.0.1", State: store.JobPaused,
			Query: store.DeliveryQuery{
				Destination: "shop:billing", State: store.Delivered, Open: true, Source: "shop", Type: "order.paid", EventID: "evt_1",
				From: at.Add(-time.Hour), To: at, After: store.DeliveryID{Message: store.MessageID{1, 2}, N: 3},
			},
			Pass: "shop:a", Later: []string{"shop:b", ""}, Done: 5, Skipped: 6, Error: "disk full", EndedAt: at,
		},
	}
}

func (x *fixture) put(e store.Entity) {
	x.Helper()
	if err := x.store.PutEntity(x.Context(), e); err != nil {
		x.Fatalf("PutEntity %v: %v", e.Key(), err)
	}
}

func (x *fixture) entity(key store.EntityKey) store.Entity {
	x.Helper()
	e, err := x.store.Entity(x.Context(), key)
	if err != nil {
		x.Fatalf("Entity %v: %v", key, err)
	}
	return e
}

func (x *fixture) entityIDs(q store.EntityQuery) []string {
	x.Helper()
	all, err := x.store.ListEntities(x.Context(), q)
	if err != nil {
		x.Fatalf("ListEntities %+v: %v", q, err)
	}
	var ids []string
	for _, e := range all {
		ids = append(ids, e.Key().ID)
	}
	return ids
}

// sameEntity fails the test where two entities differ. Nothing of it is printed
// but the names of fields.
func sameEntity(r reporter, got, want store.Entity) {
	r.Helper()
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		r.Fatalf("entity is a %T, want a %T", got, want)
	}
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		if !reflect.DeepEqual(plainField(g.Field(i)), plainField(w.Field(i))) {
			r.Fatalf("field %s of the %s differs", g.Type().Field(i).Name, want.Key().Kind)
		}
	}
}

// plainField returns the value of a field, with times to the microsecond and
// without a difference between nothing and none.
func plainField(v reflect.Value) any {
	switch f := v.Interface().(type) {
	case store.EntityMeta:
		f.CreatedAt, f.UpdatedAt = instant(f.CreatedAt), instant(f.UpdatedAt)
		return f
	case time.Time:
		return instant(f)
	}
	if (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.Len() == 0 {
		return nil
	}
	return v.Interface()
}

func checkEntityWhole(x *fixture) {
	for _, e := range entities("acme", "one", true) {
		x.put(e)
		same(x, "revision", e.Meta().Revision > 0, true)
		same(x, "creation", instant(e.Meta().CreatedAt), x.clock.Now())
		same(x, "update", instant(e.Meta().UpdatedAt), x.clock.Now())
		sameEntity(x, x.entity(e.Key()), e)
		listed, err := x.store.ListEntities(x.Context(), store.EntityQuery{Kind: e.Key().Kind, Tenant: e.Key().Tenant, Limit: 10})
		if err != nil || len(listed) != 1 {
			x.Fatalf("ListEntities: %d entities, error %v", len(listed), err)
		}
		sameEntity(x, listed[0], e)
	}
	secret, ok := x.entity(store.EntityKey{Kind: store.KindSecret, Tenant: "acme", ID: "one"}).(*store.Secret)
	same(x, "type", ok, true)
	same(x, "value of the secret", string(secret.Value) == "whsec_\x00\xff\n", true)
	same(x, "printed value", strings.Contains(fmt.Sprintf("%v %+v %#v", secret, secret, secret), "whsec"), false)
}

func checkEntityBare(x *fixture) {
	for _, e := range entities("", "bare", false) {
		x.put(e)
		sameEntity(x, x.entity(e.Key()), e)
	}
}

func checkEntityRevision(x *fixture) {
	for i, e := range entities("acme", "one", true) {
		missing := entities("acme", "missing", true)[i]
		missing.Meta().Revision = 1
		wants(x, "updating what does not exist", x.store.PutEntity(x.Context(), missing), store.ErrConflict)
		same(x, "revision after a conflict", missing.Meta().Revision, uint64(1))

		x.put(e)
		first := e.Meta().Revision
		again := entities("acme", "one", false)[i]
		wants(x, "creating what exists", x.store.PutEntity(x.Context(), again), store.ErrConflict)
		sameEntity(x, x.entity(e.Key()), e)
		again.Meta().Revision = first
		x.put(again)
		if again.Meta().Revision <= first {
			x.Fatalf("revision %d after the second put is not above %d", again.Meta().Revision, first)
		}
		sameEntity(x, x.entity(e.Key()), again)
		wants(x, "updating an old revision", x.store.PutEntity(x.Context(), e), store.ErrConflict)
		sameEntity(x, x.entity(e.Key()), again)
	}
}

func checkEntityTimes(x *fixture) {
	e := &store.Tenant{ID: "one"}
	x.put(e)
	created := x.clock.Now()
	x.clock.advance(time.Hour)
	update := &store.Tenant{ID: "one", Name: "new"}
	update.Revision = e.Revision
	update.CreatedAt = created.Add(-time.Hour)
	x.put(update)
	same(x, "creation", instant(update.CreatedAt), created)
	same(x, "update", instant(update.UpdatedAt), x.clock.Now())
	sameEntity(x, x.entity(e.Key()), update)
}

func checkEntityDelete(x *fixture) {
	for i, e := range entities("acme", "one", true) {
		wants(x, "deleting what does not exist", x.store.DeleteEntity(x.Context(), e.Key()), store.ErrNotFound)
		x.put(e)
		if err := x.store.DeleteEntity(x.Context(), e.Key()); err != nil {
			x.Fatalf("DeleteEntity: %v", err)
		}
		_, err := x.store.Entity(x.Context(), e.Key())
		wants(x, "reading what was deleted", err, store.ErrNotFound)
		wants(x, "deleting again", x.store.DeleteEntity(x.Context(), e.Key()), store.ErrNotFound)
		wants(x, "updating what was deleted", x.store.PutEntity(x.Context(), e), store.ErrConflict)
		q := store.EntityQuery{Kind: e.Key().Kind, Tenant: e.Key().Tenant, Limit: 10}
		same(x, "number listed", len(x.entityIDs(q)), 0)
		x.put(entities("acme", "one", false)[i])
		same(x, "number listed", len(x.entityIDs(q)), 1)
	}
}

func checkEntityApart(x *fixture) {
	tenants := append([]string{""}, foreignNames...)
	for _, tenant := range tenants {
		for _, id := range foreignNames {
			x.put(&store.Endpoint{Tenant: tenant, ID: id, URL: tenant + "|" + id})
		}
		x.put(&store.Secret{Tenant: tenant, ID: "a"})
	}
	ids := slices.Sorted(slices.Values(foreignNames))
	for _, tenant := range tenants {
		same(x, "endpoints", x.entityIDs(store.EntityQuery{Kind: store.KindEndpoint, Tenant: tenant, Limit: 100}), ids)
		same(x, "secrets", x.entityIDs(store.EntityQuery{Kind: store.KindSecret, Tenant: tenant, Limit: 100}), []string{"a"})
		for _, id := range ids {
			e, ok := x.entity(store.EntityKey{Kind: store.KindEndpoint, Tenant: tenant, ID: id}).(*store.Endpoint)
			same(x, "type", ok, true)
			same(x, "endpoint", e.URL, tenant+"|"+id)
		}
	}
	_, err := x.store.Entity(x.Context(), store.EntityKey{Kind: store.KindSubscription, Tenant: "a", ID: "a"})
	wants(x, "reading under another kind", err, store.ErrNotFound)
}

func checkEntityPages(x *fixture) {
	var want []string
	for i := range 11 {
		id := fmt.Sprintf("%02d", (i*7)%11)
		want = append(want, id)
		x.put(&store.Subscription{Tenant: "acme", ID: id})
	}
	slices.Sort(want)
	q := store.EntityQuery{Kind: store.KindSubscription, Tenant: "acme", Limit: 4}
	var got []string
	for {
		page := x.entityIDs(q)
		if len(page) == 0 {
			break
		}
		if len(page) > q.Limit {
			x.Fatalf("page of %d entities with a limit of %d", len(page), q.Limit)
		}
		if got = append(got, page...); len(got) > len(want) {
			break
		}
		q.After = page[len(page)-1]
	}
	same(x, "entities", got, want)
}

func checkEntityOwned(x *fixture) {
	given := entities("acme", "one", true)
	for i, want := range entities("acme", "one", true) {
		x.put(given[i])
		*want.Meta() = *given[i].Meta()
		spoilEntity(given[i])
		sameEntity(x, x.entity(want.Key()), want)
		spoilEntity(x.entity(want.Key()))
		sameEntity(x, x.entity(want.Key()), want)
	}
}

// spoilEntity overwrites what an entity refers to.
func spoilEntity(e store.Entity) {
	switch e := e.(type) {
	case *store.Tenant:
		clear(e.Labels)
	case *store.Endpoint:
		clear(e.Labels)
		clear(e.Header)
	case *store.Subscription:
		clear(e.Events)
	case *store.Secret:
		clear(e.Value)
	case *store.EventType:
		clear(e.Schema)
		clear(e.Example)
	case *store.Job:
		clear(e.Later)
	}
	e.Meta().Revision = 99
}

func checkEntityInvalid(x *fixture) {
	for _, e := range entities("acme", "", true) {
		wants(x, "putting an entity without an id", x.store.PutEntity(x.Context(), e), store.ErrInvalid)
	}
	wants(x, "putting a foreign entity", x.store.PutEntity(x.Context(), &foreignEntity{}), store.ErrInvalid)
}

// foreignEntity is an entity that no store knows.
type foreignEntity struct{ store.EntityMeta }

// Key returns the key of a tenant.
func (*foreignEntity) Key() store.EntityKey {
	return store.EntityKey{Kind: store.KindTenant, ID: "foreign"}
}
