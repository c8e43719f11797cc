// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

func TestLibrariesAcceptWhatIsSignedHere(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		if c.unsigned {
			_, err := compile(t, c.scheme(t), c.secret.signs).Sign(c.event(), "", noon)
			if !errors.Is(err, scheme.ErrCannotSign) {
				t.Errorf("signs: %v", err)
			}
			return
		}
		r, signed, secret := c.genuine(t)
		if len(signed) == 0 {
			t.Error("no header was set")
		}
		c.judges(t, secret).accept(t, r, "as signed")
	})
}

// Where a scheme lists signatures, the receiver may have either secret while one is replaced by the other.
func TestLibrariesAcceptEitherOfTwoSecrets(t *testing.T) {
	lists := []scheme.Format{scheme.KeyValue, scheme.Tagged}
	each(t, func(t *testing.T, c *counterpart) {
		s := c.scheme(t)
		oneOnly := c.preset == "buildkite" || c.preset == "paddle" // see TestDocumentedDifferencesAreStillThere
		if !slices.Contains(lists, s.Signature.Format) || oneOnly {
			return
		}
		r := c.event()
		set, err := compile(t, s, c.secret.signs, c.other.signs).SignAll(r, "msg_1", noon)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, set)
		c.judges(t, c.secret.verifies).accept(t, r, "with the first secret")
		c.judges(t, c.other.verifies).accept(t, r, "with the second secret")
	})
}

func TestBothRefuseAnotherSecret(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		r, _, _ := c.genuine(t)
		c.judges(t, c.other.verifies).refuse(t, r, "another secret")
	})
}

func TestBothRefuseAChangedBody(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		if c.bodyUnsigned {
			return
		}
		r, _, secret := c.genuine(t)
		j := c.judges(t, secret)
		for i := range r.Body {
			for bit := range 8 {
				forged := clone(r)
				forged.Body[i] ^= 1 << bit
				j.refuse(t, forged, string(forged.Body))
			}
		}
	})
}

func TestBothRefuseAMissingHeader(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		r, signed, secret := c.genuine(t)
		j := c.judges(t, secret)
		for _, name := range signed {
			forged := clone(r)
			forged.Header.Del(name)
			j.refuse(t, forged, "without "+name)
		}
	})
}

// The libraries of most providers know the time; where one does not, relay/scheme still does.
func TestTooOldIsRefused(t *testing.T) {
	offsets := []time.Duration{
		-24 * time.Hour, -301 * time.Second, -300500 * time.Millisecond, -300 * time.Second, -time.Second, 0,
		500 * time.Millisecond, 299 * time.Second, 300 * time.Second, 300001 * time.Millisecond, 301 * time.Second, time.Hour,
	}
	for _, c := range counterparts() {
		for _, offset := range offsets {
			t.Run(c.String()+"/"+offset.String(), func(t *testing.T) {
				at(t, noon.Add(offset), func(t *testing.T) { c.checkAge(t, offset) })
			})
		}
	}
}

func (c *counterpart) checkAge(t *testing.T, offset time.Duration) {
	r, _, secret := c.genuine(t)
	j := c.judges(t, secret)
	ours, theirs := j.ask(r)
	if err := j.excess(r, ours, theirs); err != nil {
		t.Error(err)
	}
	limit, limited := j.ours.TimestampTolerance()
	if limited && offset.Abs() > limit && ours == nil {
		t.Errorf("accepted %s after it was signed", offset)
	}
	if !limited && ours != nil {
		t.Errorf("refused, though the provider sets no limit: %v", ours)
	}
	if offset.Abs() <= 5*time.Minute && (ours != nil || theirs != nil) {
		t.Errorf("in time, but relay/scheme says %v and %s says %v", ours, c.library, theirs)
	}
	if offset > 301*time.Second && c.timed != (theirs != nil) {
		t.Errorf("%s says %v, though timed is %v", c.library, theirs, c.timed)
	}
}

// Ages are counted with their fractions, as the strictest libraries do; the others count whole seconds and so accept
// up to a second more.
func TestAgeIsCountedWithItsFraction(t *testing.T) {
	exact := []string{"standard-webhooks", "svix", "stripe-go", "slack-go"}
	const late = 300*time.Second + 500*time.Millisecond
	for _, c := range counterparts() {
		t.Run(c.String(), func(t *testing.T) {
			at(t, noon.Add(late), func(t *testing.T) {
				r, _, secret := c.genuine(t)
				j := c.judges(t, secret)
				ours, theirs := j.ask(r)
				if _, limited := j.ours.TimestampTolerance(); limited && !errors.Is(ours, scheme.ErrStale) {
					t.Errorf("%s later relay/scheme says %v", late, ours)
				}
				if slices.Contains(exact, c.library) != (theirs != nil) {
					t.Errorf("%s later %s says %v", late, c.library, theirs)
				}
			})
		})
	}
}
