// SPDX-License-Identifier: Apache-2.0

package schemetest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
)

// Vector is a request and whether its signature is valid.
type Vector struct {
	ID        string              `json:"id"`
	Provider  string              `json:"provider"`
	Variant   string              `json:"variant"`
	Secret    string              `json:"secret"`
	Secrets   []string            `json:"secrets"`
	KeyID     string              `json:"key_id"`
	Keys      map[string]string   `json:"keys"`
	Method    string              `json:"method"`
	URL       string              `json:"url"`
	Headers   map[string][]string `json:"headers"`
	Body      []byte              `json:"body_b64"`
	Now       *int64              `json:"now"`         // in Unix seconds; nil for any time
	Tolerance *int64              `json:"tolerance_s"` // nil for the default of the scheme
	Expect    string              `json:"expect"`      // valid or invalid
	Why       string              `json:"why"`
	EventID   string              `json:"event_id"`
	EventType string              `json:"event_type"`
	Source    string              `json:"source"` // where it was taken from
	Kind      string              `json:"source_kind"`
}

// Name returns the provider, and the variant of its signatures if it has several.
func (v *Vector) Name() string {
	if v.Variant == "" {
		return v.Provider
	}
	return v.Provider + "/" + v.Variant
}

// Header returns the headers of the request.
func (v *Vector) Header() http.Header {
	h := make(http.Header)
	for name, lines := range v.Headers {
		for _, line := range lines {
			h.Add(name, line)
		}
	}
	return h
}

//go:embed vectors.jsonl
var vectors []byte

// Vectors returns all vectors.
func Vectors() ([]Vector, error) { return rows[Vector]("vectors.jsonl", vectors) }

// rows reads lines of JSON.
func rows[T any](name string, text []byte) ([]T, error) {
	var all []T
	for line := range bytes.Lines(text) {
		var row T
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, fmt.Errorf("reading %s:%d: %w", name, len(all)+1, err)
		}
		all = append(all, row)
	}
	return all, nil
}
