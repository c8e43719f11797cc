// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"strconv"
	"time"
)

const (
	// signingSecret is what the generator signs with and the relay verifies with.
	signingSecret = "whsec_benchmark_secret_of_the_load_generator"

	signatureHeader = "Stripe-Signature"

	idPrefix  = `{"id":"evt_`
	tagLen    = 8
	seqDigits = 9
	idStart   = len(idPrefix)
	idEnd     = idStart + tagLen + 1 + seqDigits

	templateCount = 64
)

// batch is a numbered set of signed events with one tag. Bodies are not kept: all events share a few
// templates and differ in their id, so a batch costs 64 bytes per event however large the bodies are.
type batch struct {
	tag       string
	first     int
	size      int
	sigPrefix []byte
	sigs      []byte
	templates [][]byte
}

// newBatch makes and signs the n events from number first on, of size bytes each. The tag has eight characters
// and is part of every id.
func newBatch(tag string, first, n, size int, now time.Time) (*batch, error) {
	if len(tag) != tagLen {
		return nil, fmt.Errorf("tag %q has %d characters, not %d", tag, len(tag), tagLen)
	}
	templates, err := newTemplates(tag, size, now)
	if err != nil {
		return nil, err
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	b := &batch{
		tag:       tag,
		first:     first,
		size:      size,
		sigPrefix: []byte("t=" + timestamp + ",v1="),
		sigs:      make([]byte, 0, n*2*sha256.Size),
		templates: templates,
	}
	mac := hmac.New(sha256.New, []byte(signingSecret))
	body := make([]byte, 0, size)
	for seq := range n {
		body = b.appendBody(body[:0], seq)
		b.sigs = appendSignature(b.sigs, mac, timestamp, body)
	}
	return b, nil
}

// len returns the number of events.
func (b *batch) len() int { return len(b.sigs) / (2 * sha256.Size) }

// appendBody appends the body of the batch's event seq to dst. Its number is first+seq.
func (b *batch) appendBody(dst []byte, seq int) []byte {
	start := len(dst)
	dst = append(dst, b.templates[seq%len(b.templates)]...)
	seq += b.first
	digits := dst[start+idEnd-seqDigits : start+idEnd]
	for i := seqDigits - 1; i >= 0; i-- {
		digits[i] = byte('0' + seq%10)
		seq /= 10
	}
	return dst
}

// appendHeader appends the signature header of event seq to dst.
func (b *batch) appendHeader(dst []byte, seq int) []byte {
	const width = 2 * sha256.Size
	dst = append(dst, b.sigPrefix...)
	return append(dst, b.sigs[seq*width:(seq+1)*width]...)
}

// appendSignature appends the hex of HMAC-SHA256 over "timestamp.body", the v1 signature of Stripe.
func appendSignature(dst []byte, mac hash.Hash, timestamp string, body []byte) []byte {
	var sum [sha256.Size]byte
	mac.Reset()
	mac.Write([]byte(timestamp))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return hex.AppendEncode(dst, mac.Sum(sum[:0]))
}

// newTemplates makes JSON bodies of exactly size bytes. Their filling is random, so that a store that
// compresses gains nothing from it that it would not gain from real events.
func newTemplates(tag string, size int, now time.Time) ([][]byte, error) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	random := rand.New(rand.NewPCG(1, 2))
	templates := make([][]byte, templateCount)
	for i := range templates {
		var body bytes.Buffer
		fmt.Fprintf(&body, `%s%s_%0*d","object":"event","type":"invoice.paid","created":%d,"data":{"object":{"note":"`,
			idPrefix, tag, seqDigits, 0, now.Unix())
		const tail = `"}}}`
		filling := size - body.Len() - len(tail)
		if filling < 0 {
			return nil, fmt.Errorf("a body of %d bytes is too small: at least %d are needed", size, size-filling)
		}
		for range filling {
			body.WriteByte(alphabet[random.IntN(len(alphabet))])
		}
		body.WriteString(tail)
		templates[i] = body.Bytes()
	}
	return templates, nil
}

// parseID returns the sequence number in body when the body is an event with this tag.
func parseID(body []byte, tag string) (seq int, ok bool) {
	if len(body) < idEnd || string(body[:idStart]) != idPrefix || string(body[idStart:idStart+tagLen]) != tag {
		return 0, false
	}
	for _, c := range body[idEnd-seqDigits : idEnd] {
		if c < '0' || c > '9' {
			return 0, false
		}
		seq = seq*10 + int(c-'0')
	}
	return seq, true
}
