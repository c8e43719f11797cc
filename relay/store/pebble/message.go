// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/binary"
	"fmt"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// A message is stored as the length of its head, the head, and the body, so that
// neither writing nor listing messages copies bodies more than once.

// appendHead encodes all of a message but its id and its body.
func appendHead(b []byte, m *store.Message) []byte {
	r := &m.Request
	b = appendString(b, 1, m.PublicID)
	b = appendString(b, 2, m.Source)
	b = appendString(b, 3, m.Tenant)
	b = appendString(b, 4, m.EventID)
	b = appendString(b, 5, m.Type)
	b = appendString(b, 6, m.VerifiedBy)
	b = appendTime(b, 7, m.ReceivedAt)
	b = appendBytes(b, 8, m.BodySum[:])
	b = appendString(b, 9, r.Method)
	b = appendString(b, 10, r.URI)
	b = appendString(b, 11, r.Host)
	b = appendString(b, 12, r.RemoteAddr)
	b = appendString(b, 13, r.LocalAddr)
	b = appendString(b, 14, r.ClientIP)
	b = appendBool(b, 15, r.TrustedProxy)
	b = appendBool(b, 16, r.TLS)
	b = appendString(b, 20, r.SentURI)
	for name, values := range r.Header {
		b = appendHeader(b, name, values)
	}
	return b
}

// appendHeader writes one header as field 17, a record of the name and the
// values.
func appendHeader(b []byte, name string, values []string) []byte {
	size := protowire.SizeTag(1) + protowire.SizeBytes(len(name))
	for _, v := range values {
		size += protowire.SizeTag(2) + protowire.SizeBytes(len(v))
	}
	b = protowire.AppendTag(b, 17, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), name)
	for _, v := range values {
		b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), v)
	}
	return b
}

// splitMessage splits a stored message into its head and its body.
func splitMessage(b []byte) (head, body []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, fmt.Errorf("decoding: %w: length of the head", store.ErrCorrupt)
	}
	return b[n : n+int(size)], b[n+int(size):], nil
}

// decodeHead decodes what appendHead wrote.
func decodeHead(id store.MessageID, head []byte) (*store.Message, error) {
	m := &store.Message{ID: id}
	r := &m.Request
	var values []string
	err := eachField(head, func(f field) error {
		switch f.num {
		case 1:
			m.PublicID = f.text
		case 2:
			m.Source = f.text
		case 3:
			m.Tenant = f.text
		case 4:
			m.EventID = f.text
		case 5:
			m.Type = f.text
		case 6:
			m.VerifiedBy = f.text
		case 7:
			m.ReceivedAt = f.time()
		case 8:
			copy(m.BodySum[:], f.data)
		case 9:
			r.Method = f.text
		case 10:
			r.URI = f.text
		case 11:
			r.Host = f.text
		case 12:
			r.RemoteAddr = f.text
		case 13:
			r.LocalAddr = f.text
		case 14:
			r.ClientIP = f.text
		case 15:
			r.TrustedProxy = protowire.DecodeBool(f.uint)
		case 16:
			r.TLS = protowire.DecodeBool(f.uint)
		case 20:
			r.SentURI = f.text
		case 17:
			if r.Header == nil {
				r.Header = make(http.Header, 12)
				values = make([]string, 0, 16)
			}
			var err error
			values, err = decodeHeader(r.Header, values, f)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	return m, nil
}

// decodeHeader adds one header. The values of all headers share one slice, each
// header with a window of it that can not grow into the next.
func decodeHeader(h http.Header, values []string, f field) ([]string, error) {
	var name string
	from := len(values)
	for pos := 0; pos < len(f.data); {
		num, typ, n := protowire.ConsumeTag(f.data[pos:])
		if n < 0 {
			return values, corrupt(protowire.ParseError(n))
		}
		pos += n
		n = protowire.ConsumeFieldValue(num, typ, f.data[pos:])
		if n < 0 {
			return values, corrupt(protowire.ParseError(n))
		}
		if typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(f.data[pos:])
			text := f.text[pos+n-len(v) : pos+n]
			switch num {
			case 1:
				name = text
			case 2:
				values = append(values, text)
			}
		}
		pos += n
	}
	h[name] = values[from:len(values):len(values)]
	return values, nil
}

// decodeMessage decodes a whole message. The body is copied.
func decodeMessage(id store.MessageID, b []byte) (*store.Message, error) {
	head, body, err := splitMessage(b)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	m, err := decodeHead(id, head)
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		m.Request.Body = append(make([]byte, 0, len(body)), body...)
	}
	return m, nil
}
