// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// The two fuzz targets write requests whose headers may hold `{t}`, the time of signing, and `{sig}`, the right signature
// of the body at that time, so that what is tried is not only what nobody would accept. They compare both ways: nothing
// that the library refuses may be accepted here but for the documented differences, and nothing that it accepts refused
// but where relay/scheme is stricter, for one of the reasons given in a [stricter].

// stricter is a reason to refuse what a library accepts.
type stricter struct {
	name string
	is   func(r *scheme.Request, age time.Duration) bool
}

// bounded holds for everything that lists signatures.
func bounded(header, separator string) stricter {
	return stricter{"more than 16 signatures, or more than 4 KiB of them", func(r *scheme.Request, _ time.Duration) bool {
		value := r.Header.Get(header)
		return len(value) > 4<<10 || strings.Count(value, separator) >= 16
	}}
}

// plainTime is how providers write seconds. The libraries read a number and sign its usual form; relay/scheme signs the
// text as it came.
var plainTime = regexp.MustCompile(`^[1-9][0-9]{0,17}$`)

// compare fails if the two disagree and nothing explains it.
func (j *judges) compare(t *testing.T, r *scheme.Request, age time.Duration, reasons []stricter) {
	t.Helper()
	ours, theirs := j.ask(r)
	if err := j.excess(r, ours, theirs); err != nil {
		t.Error(err)
	}
	if ours == nil || theirs != nil {
		return
	}
	for _, reason := range reasons {
		if reason.is(r, age) {
			return
		}
	}
	t.Errorf("refused what %s accepts (%v): %v %q", j.library, ours, r.Header, r.Body)
}

// library returns the counterpart of that name.
func library(t testing.TB, name string) *counterpart {
	t.Helper()
	for _, c := range counterparts() {
		if c.library == name {
			return c
		}
	}
	t.Fatalf("no library %s", name)
	return nil
}

// fill puts the time and the signature where a header asks for them.
func fill(text, signature string) string {
	return strings.NewReplacer("{t}", strconv.FormatInt(noon.Unix(), 10), "{sig}", signature).Replace(text)
}

// fieldsNamed are the values of the fields of a name in Stripe's header.
func fieldsNamed(r *scheme.Request, name string) []string {
	var values []string
	for element := range strings.SplitSeq(r.Header.Get("Stripe-Signature"), ",") {
		if key, value, _ := strings.Cut(element, "="); key == name {
			values = append(values, value)
		}
	}
	return values
}

func FuzzStripe(f *testing.F) {
	for _, header := range []string{
		"t={t},v1={sig}", "v1={sig},t={t}", "t={t},v1=00,v1={sig},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aab816edb039989a39",
		"t={t},v1={sig},v1=zz", "t={t},v0={sig}", "t={t}, v1={sig}", "t={t},t={t},v1={sig}", "t=0{t},v1={sig}", "t=+{t},v1={sig}",
		"t={t},v1={sig},", "t={t},v1={sig},x", "t={t},v1={sig},x=a=b", "v1={sig}", "t=,v1={sig}", "t={t},v1=", "",
		"t={t}" + strings.Repeat(",v1=00", 16) + ",v1={sig}", "t={t},V1={sig}", "t={t},v1={sig}{sig}", "t={t},v1=\t{sig}",
	} {
		f.Add(header, []byte(`{"id":"evt_1"}`), int64(0))
	}
	for _, age := range []int64{300_000, 300_001, 300_999, 301_000, -300_000, -300_001, 1 << 40, -1 << 40} {
		f.Add("t={t},v1={sig}", []byte("\xff\x00,v1="), age)
	}
	c := library(f, "stripe-go")
	reasons := []stricter{
		bounded("Stripe-Signature", "v1="),
		{"signed in the future", func(_ *scheme.Request, age time.Duration) bool { return age < -5*time.Minute }},
		{"a second time", func(r *scheme.Request, _ time.Duration) bool { return len(fieldsNamed(r, "t")) > 1 }},
		{"a time in another form", func(r *scheme.Request, _ time.Duration) bool {
			times := fieldsNamed(r, "t")
			return len(times) > 0 && !plainTime.MatchString(times[0])
		}},
	}
	f.Fuzz(func(t *testing.T, header string, body []byte, milliseconds int64) {
		age := within(milliseconds)
		at(t, noon.Add(age), func(t *testing.T) {
			r := post("https://example.com/hooks", "application/json", string(body))
			_, signature, _ := strings.Cut(c.sign(t, r, noon).Get("Stripe-Signature"), "v1=")
			r.Header = http.Header{"Stripe-Signature": {fill(header, signature)}}
			c.judges(t, c.secret.verifies).compare(t, r, age, reasons)
		})
	})
}

func FuzzStandardWebhooks(f *testing.F) {
	for _, signature := range []string{
		"v1,{sig}", "v1,AAAA v1,{sig}", "v1a,{sig} v1,{sig}", "v2,{sig}", "{sig}", "v1,{sig},x", "v1,{sig} ", " v1,{sig}", "v1 ,{sig}",
		"v1,", "", "v1,{sig}=", "v1, {sig}", "v1,{sig}\n", strings.Repeat("v1,AAAA ", 16) + "v1,{sig}", "V1,{sig}", "v1,{sig}{sig}", "v1a,{sig}",
	} {
		f.Add("msg_1", "{t}", signature, []byte(`{"type":"a.b"}`), int64(0))
	}
	for _, timestamp := range []string{"", "0{t}", "+{t}", "-{t}", "{t}.0", " {t}", "{t}000", "99999999999999999999"} {
		f.Add("msg_1", timestamp, "v1,{sig}", []byte(nil), int64(0))
	}
	for _, age := range []int64{300_000, 300_001, 300_999, 301_000, -300_000, -300_001, -300_999, 1 << 40, -1 << 40} {
		f.Add("", "{t}", "v1,{sig}", []byte("."), age)
		f.Add("a.b", "{t}", "v1,{sig}", []byte("\xff"), age)
	}
	c := library(f, "standard-webhooks")
	reasons := []stricter{
		bounded("Webhook-Signature", ","),
		{"a second comma in an element", func(r *scheme.Request, _ time.Duration) bool {
			for element := range strings.SplitSeq(r.Header.Get("Webhook-Signature"), " ") {
				if strings.Count(element, ",") > 1 {
					return true
				}
			}
			return false
		}},
		{"a time in another form", func(r *scheme.Request, _ time.Duration) bool {
			return !plainTime.MatchString(r.Header.Get("Webhook-Timestamp"))
		}},
	}
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, body []byte, milliseconds int64) {
		age := within(milliseconds)
		at(t, noon.Add(age), func(t *testing.T) {
			r := post("https://example.com/hooks", "application/json", string(body))
			w, err := standardwebhooks.NewWebhook(c.secret.signs)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := w.Sign(id, noon, body)
			if err != nil {
				t.Fatal(err)
			}
			_, signature, _ := strings.Cut(signed, ",")
			r.Header = http.Header{
				"Webhook-Id": {id}, "Webhook-Timestamp": {fill(timestamp, signature)}, "Webhook-Signature": {fill(signatures, signature)},
			}
			c.judges(t, c.secret.verifies).compare(t, r, age, reasons)
		})
	})
}

// within is an age that a bubble's clock can show: some years around noon.
func within(milliseconds int64) time.Duration {
	return time.Duration(milliseconds%(1<<38)) * time.Millisecond
}
