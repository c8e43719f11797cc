// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// appendJob encodes what a job has beyond all entities.
func appendJob(b []byte, j *store.Job) []byte {
	q := &j.Query
	b = appendString(b, 10, string(j.Action))
	b = appendString(b, 11, j.To)
	b = appendUint(b, 12, uint64(max(0, j.Rate)))
	b = appendString(b, 13, j.By)
	b = appendString(b, 14, string(j.State))
	b = appendString(b, 15, j.Pass)
	for _, destination := range j.Later {
		b = protowire.AppendString(protowire.AppendTag(b, 16, protowire.BytesType), destination)
	}
	b = appendUint(b, 17, j.Done)
	b = appendUint(b, 18, j.Skipped)
	b = appendString(b, 19, j.Error)
	b = appendTime(b, 20, j.EndedAt)
	b = appendString(b, 21, q.Destination)
	b = appendUint(b, 22, uint64(q.State))
	b = appendBool(b, 23, q.Open)
	b = appendString(b, 24, q.Source)
	b = appendString(b, 25, q.Type)
	b = appendString(b, 26, q.EventID)
	b = appendTime(b, 27, q.From)
	b = appendTime(b, 28, q.To)
	if !q.After.Message.IsZero() {
		b = appendBytes(b, 29, q.After.Message[:])
	}
	return appendUint(b, 30, uint64(q.After.N))
}

func decodeJob(b []byte) (*store.Job, error) {
	var j store.Job
	var none string
	return &j, eachField(b, func(f field) error {
		switch f.num {
		case 10:
			j.Action = store.JobAction(f.text)
		case 11:
			j.To = f.text
		case 12:
			j.Rate = int(f.uint)
		case 13:
			j.By = f.text
		case 14:
			j.State = store.JobState(f.text)
		case 15:
			j.Pass = f.text
		case 16:
			j.Later = append(j.Later, f.text)
		case 17:
			j.Done = f.uint
		case 18:
			j.Skipped = f.uint
		case 19:
			j.Error = f.text
		case 20:
			j.EndedAt = f.time()
		default:
			f.common(&j.EntityMeta, &none, &j.ID)
			f.query(&j.Query)
		}
		return nil
	})
}

// query takes the fields of a job's query.
func (f field) query(q *store.DeliveryQuery) {
	switch f.num {
	case 21:
		q.Destination = f.text
	case 22:
		q.State = store.State(f.uint)
	case 23:
		q.Open = protowire.DecodeBool(f.uint)
	case 24:
		q.Source = f.text
	case 25:
		q.Type = f.text
	case 26:
		q.EventID = f.text
	case 27:
		q.From = f.time()
	case 28:
		q.To = f.time()
	case 29:
		copy(q.After.Message[:], f.data)
	case 30:
		q.After.N = uint32(f.uint)
	}
}
