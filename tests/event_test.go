// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// The signing secrets of the provider's account, and one that is not.
const (
	secretA     = "whsec_test_secret_a_8d1f0b6c"
	secretB     = "whsec_test_secret_b_3e97a254"
	secretWrong = "whsec_test_secret_x_00000000"
)

// bodySize is how large the bodies are that the provider makes up.
const bodySize = 1024

// event is something that happened at the provider, and is to be sent.
type event struct {
	id   string
	body []byte
	sum  [sha256.Size]byte
	lane string // the customer it is about, empty for none
}

// newEvent makes up an event. Its body is JSON that no encoder would print the same way again.
func newEvent(id string) event { return newEventOf(id, "") }

// newEventOf makes up an event about a customer.
func newEventOf(id, customer string) event {
	var about string
	if customer != "" {
		about = fmt.Sprintf("\"customer\":\"%s\", ", customer)
	}
	head := fmt.Sprintf("{ \"id\":\"%s\",\r\n"+about+"\"type\" : \"invoice.paid\", \"amount\":1.50e2, \"note\":\"\\u00e9é\", \"pad\":\"", id)
	const tail = "\" }\n"
	body := make([]byte, 0, bodySize)
	body = append(body, head...)
	for len(body) < bodySize-len(tail) {
		body = strconv.AppendUint(body, rand.Uint64(), 36)
	}
	body = append(body[:bodySize-len(tail)], tail...)
	return event{id: id, body: body, sum: sha256.Sum256(body), lane: customer}
}

// eventID returns the id that stands in a body made by newEvent.
func eventID(body []byte) string {
	_, rest, _ := bytes.Cut(body, []byte(`{ "id":"`))
	id, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(id)
}

// stripeSignature returns the Stripe-Signature of a body at a time.
func stripeSignature(secret string, body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
