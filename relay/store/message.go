// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// messageIDPrefix begins the text form of every MessageID.
const messageIDPrefix = "msg_"

// MessageID identifies a message in its store. It is a ULID, so ids sort by the
// time at which their messages were received, to the millisecond.
type MessageID ulid.ULID

// String returns the id as it is shown everywhere: msg_ and 26 characters of
// Crockford's base32.
func (id MessageID) String() string { return messageIDPrefix + ulid.ULID(id).String() }

// Time returns the time in the id, to the millisecond.
func (id MessageID) Time() time.Time { return ulid.Time(ulid.ULID(id).Time()) }

// IsZero reports whether the id is the zero value, which no message has.
func (id MessageID) IsZero() bool { return id == MessageID{} }

// ParseMessageID reads the text form that String writes and takes nothing else.
func ParseMessageID(s string) (MessageID, error) {
	text, ok := strings.CutPrefix(s, messageIDPrefix)
	if !ok {
		return MessageID{}, fmt.Errorf("parsing message id %q: %w: it does not begin with %s", s, ErrInvalid, messageIDPrefix)
	}
	id, err := ulid.ParseStrict(text)
	if err != nil || id.String() != text {
		return MessageID{}, fmt.Errorf("parsing message id %q: %w", s, ErrInvalid)
	}
	return MessageID(id), nil
}

// Message is one accepted webhook or one emitted event. It never changes after
// it has been accepted.
type Message struct {
	// ID identifies the message in the store.
	ID MessageID

	// PublicID is the id that an endpoint sees as webhook-id where it differs from
	// ID: callbacks have one that is made from what triggered them.
	PublicID string

	// Source is the stable name of the source that the message came from.
	Source string

	// Tenant is whose message it is; empty for the operator's own.
	Tenant string

	// EventID is the sender's own id of the event, empty where it sent none.
	EventID string

	// Type is the event type as the sender names it, empty where it names none.
	Type string

	// VerifiedBy is the name of the scheme that verified the message, empty where
	// none did.
	VerifiedBy string

	// ReceivedAt is when the request had arrived, in UTC, to the microsecond.
	ReceivedAt time.Time

	// BodySum is the SHA-256 of Request.Body at the time of acceptance.
	BodySum [sha256.Size]byte

	// Request is what the sender sent.
	Request Request
}

// Request is the part of an HTTP request that a message keeps.
type Request struct {
	// Method is the request method.
	Method string

	// URI is the path and query as the relay saw them, after any rewrite that ran
	// before it.
	URI string

	// SentURI is the path and query as the sender called them, where that differs
	// from URI; empty where it does not. Some senders sign it.
	SentURI string

	// Host is the Host header of the request.
	Host string

	// RemoteAddr and LocalAddr are the two ends of the connection as ip:port.
	RemoteAddr string
	LocalAddr  string

	// ClientIP is the address of the client as Caddy determined it, which differs
	// from RemoteAddr behind a trusted proxy.
	ClientIP string

	// TrustedProxy says that RemoteAddr is a proxy whose forwarding headers are
	// trusted.
	TrustedProxy bool

	// TLS says that the request came over TLS.
	TLS bool

	// Header holds the end-to-end headers in canonical form.
	Header http.Header

	// Body is the body, byte for byte as it was received.
	Body []byte
}

// Intact reports whether the body still is the one that was accepted.
func (m *Message) Intact() bool { return sha256.Sum256(m.Request.Body) == m.BodySum }
