// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// The first byte of a key is its keyspace. All numbers in keys are big-endian.
const (
	spaceMeta     byte = 0x01 // name
	spaceMessage  byte = 0x10 // message id -> message
	spaceDelivery byte = 0x20 // message id, number -> delivery; number 0 marks a message that was made without any
	spaceDue      byte = 0x30 // destination, due time, message id, number -> place, order key of the head of a lane; open deliveries only, and none that is blocked or was handed over
	spaceLane     byte = 0x32 // destination, order key -> nothing; lanes that somebody is in
	spaceBlocked  byte = 0x33 // destination, order key, place, message id, number -> nothing; blocked deliveries only
	spaceDead     byte = 0x31 // message id, number -> copy of the row; dead deliveries only
	spaceAttempt  byte = 0x40 // message id, number, attempt -> attempt
	spaceDedupe   byte = 0x50 // day, dedupe key -> message id, time of acceptance
	spaceSource   byte = 0x60 // source, message id -> type, cut off
	spaceEvent    byte = 0x62 // hash of the event id, message id -> nothing
	spaceBooks    byte = 0x70 // destination -> books
	spaceEntity   byte = 0x80 // kind, tenant, id -> entity
)

// maxName bounds names in keys. Longer destinations are refused; what is longer
// in a listing key is cut off there, and told apart by the message itself.
const maxName = 1024

const (
	idLen       = 16
	deliveryLen = idLen + 4
	messageKey  = 1 + idLen
	deliveryKey = 1 + deliveryLen
	dedupeKey   = 1 + 4 + 16
)

// bucketLen is how long one bucket of dedupe keys lasts.
const bucketLen = 24 * time.Hour

func appendMessageKey(b []byte, id store.MessageID) []byte {
	return append(append(b, spaceMessage), id[:]...)
}

// appendDelivery appends the part that keys of a delivery share. It is how
// delivery ids sort.
func appendDelivery(b []byte, id store.DeliveryID) []byte {
	return binary.BigEndian.AppendUint32(append(b, id.Message[:]...), id.N)
}

// parseDelivery reads what appendDelivery wrote at the end of a key.
func parseDelivery(key []byte) store.DeliveryID {
	var id store.DeliveryID
	tail := key[len(key)-deliveryLen:]
	copy(id.Message[:], tail)
	id.N = binary.BigEndian.Uint32(tail[idLen:])
	return id
}

func appendDeliveryKey(b []byte, id store.DeliveryID) []byte {
	return appendDelivery(append(b, spaceDelivery), id)
}

func appendAttemptKey(b []byte, id store.DeliveryID, number uint32) []byte {
	return binary.BigEndian.AppendUint32(appendDelivery(append(b, spaceAttempt), id), number)
}

// appendName appends a name so that no other name begins with it.
func appendName(b []byte, name string) []byte {
	name = name[:min(len(name), maxName)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(name))), name...)
}

// appendDuePrefix appends what all due keys of a destination begin with.
func appendDuePrefix(b []byte, destination string) []byte {
	return appendName(append(b, spaceDue), destination)
}

func appendDueKey(b []byte, d *store.Delivery) []byte {
	b = appendDuePrefix(b, d.Destination)
	b = binary.BigEndian.AppendUint64(b, sortable(d.DueAt))
	return appendDelivery(b, d.ID)
}

// parseDue reads the time of a due key.
func parseDue(key []byte) time.Time {
	at := len(key) - deliveryLen - 8
	return unsortable(binary.BigEndian.Uint64(key[at:]))
}

// sortable maps times to numbers that sort as they do, those before 1970 too.
func sortable(t time.Time) uint64 { return uint64(t.UnixMicro()) ^ 1<<63 }

func unsortable(v uint64) time.Time { return time.UnixMicro(int64(v ^ 1<<63)).UTC() }

// bucketOf returns the bucket of the dedupe keys accepted at t.
func bucketOf(t time.Time) uint32 { return uint32(max(0, t.Unix()/int64(bucketLen/time.Second))) }

// bucketTime returns when a bucket begins.
func bucketTime(bucket uint32) time.Time {
	return time.Unix(int64(bucket)*int64(bucketLen/time.Second), 0)
}

func appendBucket(b []byte, bucket uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, spaceDedupe), bucket)
}

func appendDedupeKey(b []byte, bucket uint32, key store.DedupeKey) []byte {
	return append(appendBucket(b, bucket), key[:]...)
}

// appendSourcePrefix appends what all listing keys of a source begin with.
func appendSourcePrefix(b []byte, source string) []byte {
	return appendName(append(b, spaceSource), source)
}

// appendEventPrefix appends what all listing keys of an event id begin with: a hash,
// which is far shorter than most of them. Those of another id that has the same one
// are told apart by the message itself.
func appendEventPrefix(b []byte, event string) []byte {
	return binary.BigEndian.AppendUint32(append(b, spaceEvent), crc32.ChecksumIEEE([]byte(event)))
}

func appendBooksKey(b []byte, destination string) []byte {
	return append(append(b, spaceBooks), destination...)
}

// appendEntityPrefix appends what the keys of all entities of one kind and
// tenant begin with.
func appendEntityPrefix(b []byte, kind store.EntityKind, tenant string) []byte {
	return appendName(appendName(append(b, spaceEntity), string(kind)), tenant)
}

func appendEntityKey(b []byte, key store.EntityKey) []byte {
	return append(appendEntityPrefix(b, key.Kind, key.Tenant), key.ID...)
}

// after returns the smallest key that is larger than all keys with the prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
