// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"testing"
)

func TestPresetsAreValidAndNamedOnce(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range Names() {
		s := preset(t, name)
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		for _, n := range append([]string{s.Name}, s.Aliases...) {
			if other, twice := seen[n]; twice {
				t.Errorf("%s is a name of %s and %s", n, other, s.Name)
			}
			seen[n] = s.Name
		}
	}
}

func TestPresetsSurviveJSON(t *testing.T) {
	for _, name := range Names() {
		s := preset(t, name)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Scheme
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*s, back) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestPresetGivesACopy(t *testing.T) {
	s := preset(t, "stripe")
	s.EventID[0], s.Timestamp.Tolerance = "changed", 1
	if again := preset(t, "stripe"); again.EventID[0] == "changed" || again.Timestamp.Tolerance == 1 {
		t.Error("the table can be changed")
	}
	if s, ok := Preset("standardwebhooks"); !ok || s.Name != "standard_webhooks" {
		t.Error("alias does not resolve")
	}
	if _, ok := Preset("Stripe"); ok {
		t.Error("names are not exact")
	}
}

func TestSuggest(t *testing.T) {
	for typed, want := range map[string]string{
		"strpe": "stripe", "Stripe": "stripe", "standard-webhooks": "standard_webhooks",
		"gihtub": "github", "zzzzzz": "", "": "",
	} {
		if got := Suggest(typed); got != want {
			t.Errorf("%q: %q, expected %q", typed, got, want)
		}
	}
	if !slices.IsSorted(Names()) {
		t.Error("names are not sorted")
	}
}

func TestFactsOfGitHub(t *testing.T) {
	s := preset(t, "github")
	if s.Retries() || s.MaxBody != 25<<20 {
		t.Errorf("retries %v, max body %d", s.Retries(), s.MaxBody)
	}
	if !preset(t, "stripe").Retries() {
		t.Error("Stripe retries")
	}
}

func TestEveryPresetHasAnIdentityOrAReason(t *testing.T) {
	if n := len(Names()); n < 100 {
		t.Errorf("%d presets", n)
	}
	if len(origins) != len(Names()) {
		t.Errorf("%d presets, %d origins", len(Names()), len(origins))
	}
	for _, name := range Names() {
		s := preset(t, name)
		has := len(s.Identity) > 0 || s.IdentityBody || len(s.EventID) > 0 && s.Unidentified == ""
		if s.Title == "" || s.Secret == "" {
			t.Errorf("%s: title %q, secret %q", name, s.Title, s.Secret)
		}
		if has == (s.Unidentified != "") {
			t.Errorf("%s: has an identity: %v, reason for none: %q", name, has, s.Unidentified)
		}
	}
}

// ownTests are those of presets that neither sign here nor have a request of the provider.
var ownTests = map[string]func(*testing.T){
	"alipay": TestAlipaySignsEverythingButTheSignature, "constantcontact": TestConstantContactSignsHeaderAndBody,
	"figma": TestTokenInTheBody, "kinde": TestKindeSendsATokenAsItsBody, "msgraph": TestEveryElementOfABatchIsChecked,
	"paypal": TestPayPal, "plaid": TestPlaidBindsKeyAlgorithmBodyAndAge,
}

func TestEveryPresetIsTestedWithRequests(t *testing.T) {
	valid := make(map[string]bool)
	for _, v := range readVectors(t) {
		if s, ok := v.preset(); ok && v.Expect == "valid" {
			valid[s.Name] = true
		}
	}
	for _, name := range Names() {
		_, own := ownTests[name]
		roundTrip := !slices.Contains(signedInBody, name) // see TestWhatEveryPresetSignsItVerifies
		if !valid[name] && !roundTrip && !own {
			t.Errorf("%s has neither a request of the provider nor a round trip", name)
		}
		if own && (valid[name] || roundTrip) {
			t.Errorf("%s need not be among ownTests", name)
		}
	}
}

func TestIdentityOfProvidersWithPitfalls(t *testing.T) {
	for _, c := range []struct {
		preset string
		header map[string]string
		bodies [2]string
		same   bool
	}{
		// Stripe counts pending_webhooks down between retries.
		{"stripe", nil, [2]string{`{"id":"evt_1","pending_webhooks":2}`, `{"id":"evt_1","pending_webhooks":1}`}, true},
		// Shopify shares an event id among topics, GitHub a GUID among hooks.
		{"shopify", map[string]string{"X-Shopify-Event-Id": "1"}, [2]string{`{"a":1}`, `{"a":2}`}, false},
		{"github", map[string]string{"X-GitHub-Delivery": "1"}, [2]string{`{"a":1}`, `{"a":2}`}, false},
		{"github", map[string]string{"X-GitHub-Delivery": "1"}, [2]string{`{"a":1}`, `{"a":1}`}, true},
		// LINE says in the body that it sends again.
		{"line", nil, [2]string{
			`{"events":[{"webhookEventId":"1","deliveryContext":{"isRedelivery":false}}]}`,
			`{"events":[{"webhookEventId":"1","deliveryContext":{"isRedelivery":true}}]}`,
		}, true},
		{"line", nil, [2]string{`{"events":[{"webhookEventId":"1"},{"webhookEventId":"2"}]}`, `{"events":[{"webhookEventId":"1"}]}`}, false},
		// Linear's id is not signed, so that one with another body is another event.
		{"linear", map[string]string{"Linear-Delivery": "1"}, [2]string{
			`{"webhookTimestamp":1750000000000,"data":{"id":"1"}}`,
			`{"webhookTimestamp":1750000000000,"data":{"id":"1"}}`,
		}, true},
		{"linear", map[string]string{"Linear-Delivery": "1"}, [2]string{
			`{"webhookTimestamp":1750000000000,"data":{"id":"1"}}`,
			`{"webhookTimestamp":1750000000000,"data":{"id":"2"}}`,
		}, false},
		// HubSpot counts attempts in the body.
		{"hubspot", nil, [2]string{
			`[{"eventId":1,"subscriptionType":"a","occurredAt":7,"attemptNumber":0}]`, `[{"eventId":1,"subscriptionType":"a","occurredAt":7,"attemptNumber":1}]`,
		}, true},
		{"hubspot", nil, [2]string{
			`[{"eventId":1,"subscriptionType":"a","occurredAt":7},{"eventId":2}]`, `[{"eventId":1,"subscriptionType":"a","occurredAt":7}]`,
		}, false},
		// An object's id is not an event's.
		{"paystack", nil, [2]string{`{"event":"a","data":{"id":1,"x":1}}`, `{"event":"a","data":{"id":1,"x":2}}`}, false},
	} {
		v := exampleVerifier(t, preset(t, c.preset))
		var keys [2][]string
		for i, body := range c.bodies {
			r := post(body)
			for name, value := range c.header {
				r.Header.Set(name, value)
			}
			got, err := v.Verify(signed(t, v, r, "", noon), noon)
			if err != nil || len(got.Identity) == 0 {
				t.Fatalf("%s: %+v %v", c.preset, got, err)
			}
			keys[i] = parts(got.Identity)
		}
		if slices.Equal(keys[0], keys[1]) != c.same {
			t.Errorf("%s: %q and %q", c.preset, keys[0], keys[1])
		}
	}
}

func TestRecognize(t *testing.T) {
	for want, h := range map[string]http.Header{
		"github":       {"X-Hub-Signature-256": {"x"}, "X-Github-Event": {"push"}},
		"stripe":       {"Stripe-Signature": {"x"}, "Authorization": {"y"}},
		"gitea":        {"X-Gitea-Signature": {"x"}, "X-Hub-Signature-256": {"x"}, "X-Gitea-Event": {"e"}, "X-Gitea-Delivery": {"d"}},
		"shopify":      {"X-Shopify-Hmac-Sha256": {"x"}},
		"":             {"X-Signature": {"x"}},
		"lemonsqueezy": {"X-Signature": {"x"}, "X-Event-Name": {"x"}},
	} {
		if _, got := Recognize(h); got != want {
			t.Errorf("%v: %q, expected %q", h, got, want)
		}
	}
}
