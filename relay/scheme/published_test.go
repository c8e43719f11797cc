// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestBoxAsItsLibraryTests has the signatures of the tests of box-node-sdk and
// box-typescript-sdk-gen. Box signs the body escaped to ASCII, and so the same
// signature fits the body as UTF-8 and escaped.
func TestBoxAsItsLibraryTests(t *testing.T) {
	const at = "2020-01-01T00:00:00-07:00"
	named := func(name string) string {
		return `{"webhook":{"id":"1234567890"},"trigger":"FILE.UPLOADED","source":{"id":"1234567890","type":"file","name":"` + name + `"}}`
	}
	plain := `{"type":"webhook_event","webhook":{"id":"1234567890"},"trigger":"FILE.UPLOADED","source":{"id":"1234567890","type":"file","name":"Test.txt"}}`
	now, _ := time.Parse(time.RFC3339, at)
	for _, c := range []struct{ body, header, key, signature string }{
		{plain, "Box-Signature-Primary", "SamplePrimaryKey", "6TfeAW3A1PASkgboxxA5yqHNKOwFyMWuEXny/FPD5hI="},
		{plain, "Box-Signature-Secondary", "SampleSecondaryKey", "v+1CD1Jdo3muIcbpv5lxxgPglOqMfsNHPV899xWYydo="},
		{named("スクリーンショット 2020-08-05.txt"), "Box-Signature-Primary", "SamplePrimaryKey", "LV2uCu+5NJtIHrCXDYgZ0v/PP5THGRuegw3RtdnEyuE="},
		{named("😀 2020-08-05.txt"), "Box-Signature-Primary", "SamplePrimaryKey", "xF/SDZosX4le+v4A0Qn59sZhuD1RqY5KRUKzVMSbh0E="},
		{named(`test \r`), "Box-Signature-Primary", "SamplePrimaryKey", "SVkbKgy3dEEf2PbbzpNu2lDZS7zZ/aboU7HOZgBGrJk="},
		{named(`\/`), "Box-Signature-Primary", "SamplePrimaryKey", "t41PWT5ZB6OcysnD6SDy9Ud+p9hdXxIdXqcdweyZv/Q="},
		{named(`\\`), "Box-Signature-Primary", "SamplePrimaryKey", "ERpMZwUQsGDTfj82ehdX6VvDZfvOhK5ULNfVmwVAGe0="},
	} {
		v := mustCompile(t, preset(t, "box"), "another key", c.key)
		r := post(c.body)
		for name, value := range map[string]string{
			"Box-Delivery-Timestamp": at, "Box-Signature-Version": "1", "Box-Signature-Algorithm": "HmacSHA256", c.header: c.signature,
		} {
			r.Header.Set(name, value)
		}
		if _, err := v.Verify(r, now); err != nil {
			t.Errorf("%s: %v", c.body, err)
		}
		if _, err := v.Verify(r, now.Add(-time.Second)); !errors.Is(err, ErrStale) {
			t.Errorf("from the future: %v", err)
		}
		r.Header.Set("Box-Signature-Algorithm", "HmacSHA1")
		if _, err := v.Verify(r, now); !errors.Is(err, ErrMismatch) {
			t.Errorf("another algorithm: %v", err)
		}
	}
}

// TestSanityAsItsLibraryTests has the signatures of the tests of @sanity/webhook.
func TestSanityAsItsLibraryTests(t *testing.T) {
	for _, c := range []struct {
		body, signature, secret string
		ok                      bool
	}{
		{`{"_id":"resume"}`, "t=1633519811129,v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0", "test", true},
		{`{"_id":"resume"}`, "t=1633519811129, v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0", "test", true},
		{`{"title":"GROQ-Hooks are neat"}`, "t=1633518820676,v1=e7C9h2sfbFfc4V7TEz7PSOp4IoNzl0UdVsBV-1wgdeA", "try-me", true},
		{`{"_id":"resume"}`, "t=1633519811128,v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0", "test", false},
		{`{"_id":"resume"}`, "t=1633519811129,v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N1", "test", false},
		{`{"_id":"structure"}`, "t=1633519811129,v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0", "test", false},
		{`{"_id":"structure"}`, "t=1633519811129,v5=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0", "test", false},
	} {
		r := post(c.body)
		r.Header.Set("sanity-webhook-signature", c.signature)
		if _, err := mustCompile(t, preset(t, "sanity"), c.secret).Verify(r, noon); (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.body, c.signature, err)
		}
	}
}

// TestHook0AsItsLibraryShows has the request of the example in hook0's client for Rust, which is signed without headers.
func TestHook0AsItsLibraryShows(t *testing.T) {
	const stamp, signature = "t=1737981303", ",v0=fb1010dc3b7b6a3b0c0be62e4acd5b0d2771acd94ba9ae6894a9711262f1a3ac"
	v := mustCompile(t, preset(t, "hook0"), "ebc17f0b-566e-4d02-be72-df8ec3a6d16c")
	now := time.Unix(1737981303, 0)
	r := post(`{"test": true}`)
	for header, want := range map[string]error{
		stamp + signature: nil,
		stamp + signature + ",v1=" + strings.Repeat("0", 64):  ErrMismatch, // only the newest counts
		"t=1737981304" + signature:                            ErrMismatch,
		stamp + strings.Replace(signature, "v0=", "v2=", 1):   ErrMalformed,
		stamp + ",h=content-type" + signature:                 nil, // which it does not sign
		stamp + ",h=x-event-id,v1=" + signature[len(",v0="):]: ErrMissing,
	} {
		r.Header.Set("X-Hook0-Signature", header)
		if _, err := v.Verify(r, now); !errors.Is(err, want) {
			t.Errorf("%s: %v, expected %v", header, err, want)
		}
	}
}

// TestWebSubHubsChooseTheHash has HMACs made with openssl.
func TestWebSubHubsChooseTheHash(t *testing.T) {
	v := mustCompile(t, preset(t, "websub"), "secret")
	r := post("hello")
	for header, want := range map[string]error{
		"sha1=5112055c05f944f85755efc5cd8970e194e9f45b":                                                                                           nil,
		"sha256=88aab3ede8d3adf94d26ab90d3bafd4a2083070c3bcce9c014ee04a443847c0b":                                                                 nil,
		"sha384=7e1e620ca0068fd1fce00c1ad3f5c6dbb12874dd2fb9c26502d09d0d804f2c0ba1d921b9458416cba480417571001e18":                                 nil,
		"sha512=db1595ae88a62fd151ec1cba81b98c39df82daae7b4cb9820f446d5bf02f1dcfca6683d88cab3e273f5963ab8ec469a746b5b19086371239f67d1e5f99a79440": nil,
		"sha256=5112055c05f944f85755efc5cd8970e194e9f45b":                                                                                         ErrMalformed,
		"sha1=88aab3ede8d3adf94d26ab90d3bafd4a2083070c3bcce9c014ee04a443847c0b":                                                                   ErrMalformed,
		"md5=bade63863c61ed0b3165806ecd6acefc":                                                                                                    ErrMalformed,
		"sha256=88aab3ede8d3adf94d26ab90d3bafd4a2083070c3bcce9c014ee04a443847c0c":                                                                 ErrMismatch,
	} {
		r.Header.Set("X-Hub-Signature", header)
		if _, err := v.Verify(r, noon); !errors.Is(err, want) {
			t.Errorf("%s: %v, expected %v", header, err, want)
		}
	}
}
