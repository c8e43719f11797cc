// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"
)

// EntityKind names a kind of entity.
type EntityKind string

// The kinds of entities.
const (
	KindTenant       EntityKind = "tenant"
	KindEndpoint     EntityKind = "endpoint"
	KindSubscription EntityKind = "subscription"
	KindSecret       EntityKind = "secret"
	KindEventType    EntityKind = "event_type"
	KindPause        EntityKind = "pause"
	KindJob          EntityKind = "job"
)

// EntityKey identifies an entity. Ids are unique per kind and tenant; the
// operator's own entities have an empty tenant. A Tenant has its own id in ID
// and an empty Tenant.
type EntityKey struct {
	Kind   EntityKind
	Tenant string
	ID     string
}

// Entity is one of Tenant, Endpoint, Subscription, Secret, EventType, Pause and
// Job; in a list also Illegible.
type Entity interface {
	// Key returns what identifies the entity.
	Key() EntityKey
	// Meta returns the part that all entities have, for the store to fill in.
	Meta() *EntityMeta
}

// EntityMeta is the part that all entities have. The store sets it.
type EntityMeta struct {
	// Revision is 0 before the entity is stored and grows with every put.
	Revision uint64
	// CreatedAt and UpdatedAt are the times of the first and the last put.
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Meta returns the receiver, so that embedding EntityMeta suffices.
func (m *EntityMeta) Meta() *EntityMeta { return m }

// Tenant is a customer of an open platform.
type Tenant struct {
	EntityMeta
	ID   string
	Name string
	// Disabled tenants get no callbacks.
	Disabled bool
	// Labels are the operator's own.
	Labels map[string]string
}

// Key returns what identifies the tenant.
func (t *Tenant) Key() EntityKey { return EntityKey{Kind: KindTenant, ID: t.ID} }

// Endpoint is an outbound URL that callbacks are sent to.
type Endpoint struct {
	EntityMeta
	Tenant      string
	ID          string
	URL         string
	Description string
	// Scheme is the name of the scheme that signs what is sent.
	Scheme string
	// Header holds headers to add to each request.
	Header map[string]string
	// Disabled endpoints get no deliveries; DisabledReason says why.
	Disabled       bool
	DisabledReason string
	DisabledAt     time.Time
	Labels         map[string]string
}

// Key returns what identifies the endpoint.
func (e *Endpoint) Key() EntityKey {
	return EntityKey{Kind: KindEndpoint, Tenant: e.Tenant, ID: e.ID}
}

// Subscription says which event types an endpoint gets.
type Subscription struct {
	EntityMeta
	Tenant string
	ID     string
	// Endpoint is the id of the endpoint, which belongs to the same tenant.
	Endpoint string
	// Events are event patterns, such as order.*.
	Events []string
	// Filter is an expression that a message must satisfy; empty for none.
	Filter string
}

// Key returns what identifies the subscription.
func (s *Subscription) Key() EntityKey {
	return EntityKey{Kind: KindSubscription, Tenant: s.Tenant, ID: s.ID}
}

// Secret is a signing secret of an endpoint.
type Secret struct {
	EntityMeta
	Tenant string
	ID     string
	// Endpoint is the id of the endpoint, which belongs to the same tenant.
	Endpoint string
	// Value is the secret as the scheme writes it.
	Value []byte
	// NotBefore and NotAfter bound the use of the secret; zero does not bound.
	NotBefore time.Time
	NotAfter  time.Time
}

// Key returns what identifies the secret.
func (s *Secret) Key() EntityKey {
	return EntityKey{Kind: KindSecret, Tenant: s.Tenant, ID: s.ID}
}

// String hides the value, so that a secret that is printed by mistake tells
// nothing.
func (s *Secret) String() string { return "secret " + s.ID + " (REDACTED)" }

// GoString hides the value from %#v too.
func (s *Secret) GoString() string { return s.String() }

// EventType describes a type of event that endpoints may subscribe to. Its id
// is the name of the type.
type EventType struct {
	EntityMeta
	Tenant      string
	ID          string
	Description string
	// Schema is a JSON Schema of the data, empty for none.
	Schema []byte
	// Example is an example of the data, empty for none.
	Example    []byte
	Deprecated bool
}

// Key returns what identifies the event type.
func (t *EventType) Key() EntityKey {
	return EntityKey{Kind: KindEventType, Tenant: t.Tenant, ID: t.ID}
}

// Pause says that nothing is delivered to a destination until an operator
// resumes it. There is one as long as the destination is paused, since its
// CreatedAt; it always belongs to the operator.
type Pause struct {
	EntityMeta
	// Destination is the id of the destination.
	Destination string
	// Reason is what the operator gave as one, empty for none.
	Reason string
}

// Key returns what identifies the pause.
func (p *Pause) Key() EntityKey { return EntityKey{Kind: KindPause, ID: p.Destination} }

// Illegible stands in a list for an entity that is there and can not be read. It can
// be deleted by its key, and is never put.
type Illegible struct {
	EntityMeta
	EntityKey
	// Err wraps ErrCorrupt.
	Err error
}

// Key returns what identifies the entity.
func (i *Illegible) Key() EntityKey { return i.EntityKey }

// EntityQuery selects entities of one kind.
type EntityQuery struct {
	Kind EntityKind

	// Tenant selects the entities of one tenant; the operator's own for "". For
	// KindTenant it is empty.
	Tenant string

	// After, when set, selects only entities with a larger id: the id of the last
	// entity of a page asks for the next one.
	After string

	// Limit is the size of a page; at least 1.
	Limit int
}

// Entities keeps the entities of an open platform. Puts and deletes are atomic
// and durable.
type Entities interface {
	// PutEntity stores an entity. With a revision of 0 it must not exist yet, with
	// another it must have exactly that revision; else it returns ErrConflict. On
	// success the entity's meta is up to date.
	PutEntity(ctx context.Context, e Entity) error

	// Entity returns an entity, as a pointer to its type. It returns ErrNotFound, or
	// ErrCorrupt for one that can not be read.
	Entity(ctx context.Context, key EntityKey) (Entity, error)

	// ListEntities returns entities by id. One that can not be read hides no other: an
	// Illegible is in its place.
	ListEntities(ctx context.Context, q EntityQuery) ([]Entity, error)

	// DeleteEntity removes an entity, also one that can not be read. It returns
	// ErrNotFound.
	DeleteEntity(ctx context.Context, key EntityKey) error
}
