// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTimestampIsThatOfTheRequest(t *testing.T) {
	for _, name := range []string{"stripe", "standard_webhooks", "slack", "persona"} {
		v := exampleVerifier(t, preset(t, name))
		r := signed(t, v, exampleRequest(v, "evt_1"), "evt_1", noon)
		at, ok := v.Timestamp(r)
		if !ok || at.Sub(noon).Abs() > time.Second {
			t.Errorf("%s: %s, %v", name, at, ok)
		}
	}
	for _, name := range []string{"github", "discord", "twilio"} {
		v := exampleVerifier(t, preset(t, name))
		if at, ok := v.Timestamp(exampleRequest(v, "evt_1")); ok {
			t.Errorf("%s has the time %s", name, at)
		}
	}
}

func TestSchemesKnowWhetherTheySignTheURL(t *testing.T) {
	for name, want := range map[string]bool{"twilio": true, "square": true, "hubspot": true, "stripe": false, "github": false, "contentful": false} {
		if got := preset(t, name).CoversURL(); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCanSignSaysWhatSignWould(t *testing.T) {
	for _, name := range Names() {
		v := exampleVerifier(t, preset(t, name))
		_, signs := v.Sign(exampleRequest(v, "x"), "x", noon)
		if err := v.CanSign(); err != nil && (signs == nil || !errors.Is(err, ErrCannotSign)) {
			t.Errorf("%s: %v, yet Sign says %v", name, err, signs)
		} else if err == nil && signs != nil && !strings.Contains(signs.Error(), "the request has no") {
			t.Errorf("%s: can sign, yet Sign says %v", name, signs)
		}
	}
}

func TestHandshakesThatNeedMore(t *testing.T) {
	for name, want := range map[string][2]bool{"meta": {true, false}, "ebay": {true, false}, "asana": {false, true}, "notion": {false, true}, "stripe": {}, "slack": {}} {
		s := preset(t, name)
		if got := [2]bool{s.NeedsToken(), s.Learns()}; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
