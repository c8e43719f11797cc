// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Fields 1 to 5 are the same in all entities.

func appendEntityRecord(b []byte, e store.Entity) ([]byte, error) {
	key, meta := e.Key(), e.Meta()
	b = appendString(b, 1, key.Tenant)
	b = appendString(b, 2, key.ID)
	b = appendUint(b, 3, meta.Revision)
	b = appendTime(b, 4, meta.CreatedAt)
	b = appendTime(b, 5, meta.UpdatedAt)
	switch e := e.(type) {
	case *store.Tenant:
		b = appendString(b, 10, e.Name)
		b = appendBool(b, 11, e.Disabled)
		b = appendMap(b, 12, e.Labels)
	case *store.Endpoint:
		b = appendString(b, 10, e.URL)
		b = appendString(b, 11, e.Description)
		b = appendString(b, 12, e.Scheme)
		b = appendMap(b, 13, e.Header)
		b = appendBool(b, 14, e.Disabled)
		b = appendString(b, 15, e.DisabledReason)
		b = appendTime(b, 16, e.DisabledAt)
		b = appendMap(b, 17, e.Labels)
	case *store.Subscription:
		b = appendString(b, 10, e.Endpoint)
		for _, pattern := range e.Events {
			b = protowire.AppendString(protowire.AppendTag(b, 11, protowire.BytesType), pattern)
		}
		b = appendString(b, 12, e.Filter)
	case *store.Secret:
		b = appendString(b, 10, e.Endpoint)
		b = appendBytes(b, 11, e.Value)
		b = appendTime(b, 12, e.NotBefore)
		b = appendTime(b, 13, e.NotAfter)
	case *store.EventType:
		b = appendString(b, 10, e.Description)
		b = appendBytes(b, 11, e.Schema)
		b = appendBytes(b, 12, e.Example)
		b = appendBool(b, 13, e.Deprecated)
	case *store.Pause:
		b = appendString(b, 10, e.Reason)
	case *store.Job:
		b = appendJob(b, e)
	default:
		return nil, fmt.Errorf("entity of type %T: %w", e, store.ErrInvalid)
	}
	return b, nil
}

// appendMap writes each pair as a record of its own.
func appendMap(b []byte, num protowire.Number, m map[string]string) []byte {
	for k, v := range m {
		pair := appendString(appendString(nil, 1, k), 2, v)
		b = protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), pair)
	}
	return b
}

// pair adds to a map what appendMap wrote for one pair.
func (f field) pair(m *map[string]string) error {
	var k, v string
	err := eachField(f.data, func(f field) error {
		switch f.num {
		case 1:
			k = f.text
		case 2:
			v = f.text
		}
		return nil
	})
	if *m == nil {
		*m = make(map[string]string)
	}
	(*m)[k] = v
	return err
}

// decodeEntityAt decodes the entity that has an id in its key.
func decodeEntityAt(kind store.EntityKind, id string, b []byte) (store.Entity, error) {
	e, err := decodeEntity(kind, b)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", id, err)
	}
	if says := e.Key().ID; says != id {
		return nil, fmt.Errorf("%q says that it is %q: %w", id, says, store.ErrCorrupt)
	}
	return e, nil
}

func decodeEntity(kind store.EntityKind, b []byte) (store.Entity, error) {
	switch kind {
	case store.KindTenant:
		return decodeTenant(b)
	case store.KindEndpoint:
		return decodeEndpoint(b)
	case store.KindSubscription:
		return decodeSubscription(b)
	case store.KindSecret:
		return decodeSecret(b)
	case store.KindEventType:
		return decodeEventType(b)
	case store.KindPause:
		return decodePause(b)
	case store.KindJob:
		return decodeJob(b)
	default:
		return nil, fmt.Errorf("entity of kind %q: %w", kind, store.ErrInvalid)
	}
}

// common takes the fields that all entities have.
func (f field) common(meta *store.EntityMeta, tenant, id *string) {
	switch f.num {
	case 1:
		*tenant = f.text
	case 2:
		*id = f.text
	case 3:
		meta.Revision = f.uint
	case 4:
		meta.CreatedAt = f.time()
	case 5:
		meta.UpdatedAt = f.time()
	}
}

func decodeTenant(b []byte) (*store.Tenant, error) {
	var e store.Tenant
	var none string
	return &e, eachField(b, func(f field) error {
		switch f.num {
		case 10:
			e.Name = f.text
		case 11:
			e.Disabled = protowire.DecodeBool(f.uint)
		case 12:
			return f.pair(&e.Labels)
		default:
			f.common(&e.EntityMeta, &none, &e.ID)
		}
		return nil
	})
}

func decodeEndpoint(b []byte) (*store.Endpoint, error) {
	var e store.Endpoint
	return &e, eachField(b, func(f field) error {
		switch f.num {
		case 10:
			e.URL = f.text
		case 11:
			e.Description = f.text
		case 12:
			e.Scheme = f.text
		case 13:
			return f.pair(&e.Header)
		case 14:
			e.Disabled = protowire.DecodeBool(f.uint)
		case 15:
			e.DisabledReason = f.text
		case 16:
			e.DisabledAt = f.time()
		case 17:
			return f.pair(&e.Labels)
		default:
			f.common(&e.EntityMeta, &e.Tenant, &e.ID)
		}
		return nil
	})
}

func decodeSubscription(b []byte) (*store.Subscription, error) {
	var e store.Subscription
	return &e, eachField(b, func(f field) error {
		switch f.num {
		case 10:
			e.Endpoint = f.text
		case 11:
			e.Events = append(e.Events, f.text)
		case 12:
			e.Filter = f.text
		default:
			f.common(&e.EntityMeta, &e.Tenant, &e.ID)
		}
		return nil
	})
}

func decodeSecret(b []byte) (*store.Secret, error) {
	var e store.Secret
	return &e, eachField(b, func(f field) error {
		switch f.num {
		case 10:
			e.Endpoint = f.text
		case 11:
			e.Value = bytes.Clone(f.data)
		case 12:
			e.NotBefore = f.time()
		case 13:
			e.NotAfter = f.time()
		default:
			f.common(&e.EntityMeta, &e.Tenant, &e.ID)
		}
		return nil
	})
}

func decodeEventType(b []byte) (*store.EventType, error) {
	var e store.EventType
	return &e, eachField(b, func(f field) error {
		switch f.num {
		case 10:
			e.Description = f.text
		case 11:
			e.Schema = bytes.Clone(f.data)
		case 12:
			e.Example = bytes.Clone(f.data)
		case 13:
			e.Deprecated = protowire.DecodeBool(f.uint)
		default:
			f.common(&e.EntityMeta, &e.Tenant, &e.ID)
		}
		return nil
	})
}

func decodePause(b []byte) (*store.Pause, error) {
	var e store.Pause
	var none string
	return &e, eachField(b, func(f field) error {
		switch f.num {
		case 10:
			e.Reason = f.text
		default:
			f.common(&e.EntityMeta, &none, &e.Destination)
		}
		return nil
	})
}
