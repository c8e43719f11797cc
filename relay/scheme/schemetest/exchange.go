// SPDX-License-Identifier: Apache-2.0

package schemetest

import (
	_ "embed"
)

// Exchange is one question of a provider and the answer that it wants.
type Exchange struct {
	ID            string            `json:"id"`
	Provider      string            `json:"provider"`
	Method        string            `json:"method"`
	URL           string            `json:"url"`
	Headers       map[string]string `json:"request_headers"`
	Body          string            `json:"request_body"`
	Secret        string            `json:"secret"`
	ExpectStatus  int               `json:"expect_status"`
	ExpectHeaders map[string]string `json:"expect_headers"`
	ExpectBody    string            `json:"expect_body"`
	BodyMatch     string            `json:"body_match"`
}

//go:embed handshakes.jsonl
var handshakes []byte

// Exchanges returns all exchanges.
func Exchanges() ([]Exchange, error) { return rows[Exchange]("handshakes.jsonl", handshakes) }
