// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestUnambiguous(t *testing.T) {
	for document, want := range map[string]bool{
		`{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}`: true,
		`[]`:                                true,
		`"a"`:                               true,
		`{"a":"a","b":"a"}`:                 true,
		`{"additionalData":{"a":1,"A":2}}`:  true,
		`{"additionalData":{"a":1,"a":2}}`:  false,
		`{"a":1,"a":1}`:                     false,
		`{"a":1,"A":1}`:                     false,
		`{"a":1,"\u0061":1}`:                false,
		`{"x":[{"y":{"a":1,"b":2,"a":3}}]}`: false,
		`{"a":1} {"a":1}`:                   false,
		`{"a":1`:                            false,
		``:                                  false,
		`{"a":1}x`:                          false,
	} {
		if got := unambiguous([]byte(document)); got != want {
			t.Errorf("%s: %v", document, got)
		}
	}
}

func TestSignedValuesCanNotBeShadowed(t *testing.T) {
	for _, vec := range readVectors(t) {
		if vec.Expect != "valid" || vec.Provider != "adyen" && vec.Provider != "sns" {
			continue
		}
		s, _ := vec.preset()
		secrets := [][]byte{[]byte(vec.secret(s))}
		for _, pinned := range vec.Keys {
			secrets = append(secrets, []byte(pinned))
		}
		v, err := s.Compile(secrets)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range [][2]string{
			{`"eventCode"`, `"success":"maybe","eventCode"`},
			{`"eventCode"`, `"Success":"maybe","eventCode"`},
			{`"Message"`, `"Message":"evil","Message"`},
			{`"Timestamp"`, `"message":"evil","Timestamp"`},
		} {
			r := vec.request()
			changed := strings.Replace(string(r.Body), c[0], c[1], 1)
			if changed == string(r.Body) {
				continue
			}
			r.Body = []byte(changed)
			if _, err := v.Verify(r, vec.now()); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s with %s: %v", vec.ID, c[1], err)
			}
		}
	}
}

func FuzzUnambiguous(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":1}],"c":null}`))
	f.Add([]byte("0}"))
	f.Fuzz(func(t *testing.T, document []byte) {
		if unambiguous(document) && !json.Valid(document) {
			t.Fatal("invalid JSON")
		}
	})
}
