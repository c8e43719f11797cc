// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
)

func stripeRequest(b *testing.B, size int) (*Verifier, *Request) {
	v := mustCompile(b, preset(b, "stripe"), "whsec_0123456789abcdef")
	head := `{"id":"evt_1MqqbKLt4dXK03v5qaIbiNCC","type":"customer.subscription.updated","data":"`
	return v, signed(b, v, post(head+strings.Repeat("x", size-len(head)-2)+`"}`), "", noon)
}

// BenchmarkBareHMAC is the HMAC over the same bytes, what no verification can do without.
func BenchmarkBareHMAC(b *testing.B) {
	_, r := stripeRequest(b, 1<<10)
	h := hmac.New(sha256.New, []byte("whsec_0123456789abcdef"))
	var sum [sha256.Size]byte
	head := []byte("1750000000.")
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		h.Write(head)
		h.Write(r.Body)
		h.Sum(sum[:0])
	}
}

// BenchmarkNewHMAC is the same as libraries do it, the key's work included.
func BenchmarkNewHMAC(b *testing.B) {
	_, r := stripeRequest(b, 1<<10)
	head, secret := []byte("1750000000."), []byte("whsec_0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		h := hmac.New(sha256.New, secret)
		h.Write(head)
		h.Write(r.Body)
		h.Sum(nil)
	}
}

// BenchmarkCheckStripe is the verification alone.
func BenchmarkCheckStripe(b *testing.B) {
	v, r := stripeRequest(b, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		s := newScratch()
		if _, _, failure := v.check(r, noon, s); failure != nil {
			b.Fatal(failure)
		}
		s.release()
	}
}

// BenchmarkVerifyStripe has event id, type and identity as well.
func BenchmarkVerifyStripe(b *testing.B) {
	v, r := stripeRequest(b, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r, noon); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefuseStripe is a forged request.
func BenchmarkRefuseStripe(b *testing.B) {
	v, r := stripeRequest(b, 1<<10)
	r.Body[len(r.Body)-3] = 'y'
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r, noon); err == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkVerifyGitHub(b *testing.B) {
	v := mustCompile(b, preset(b, "github"), "secret")
	r := post(strings.Repeat("x", 1<<10))
	r.Header.Set("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
	r = signed(b, v, r, "", noon)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func TestVerifyOfStripeAllocatesAtMostTwice(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	v := mustCompile(t, preset(t, "stripe"), "secret")
	r := signed(t, v, post(`{"id":"evt_1","type":"a.b","x":"`+strings.Repeat("x", 1000)+`"}`), "", noon)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := v.Verify(r, noon); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}
