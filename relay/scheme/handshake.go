// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Handshake describes a question that a provider asks before it sends events,
// and the answer. Nothing of it is stored but what Learn says.
type Handshake struct {
	// Method is the HTTP method of the question. Default: POST.
	Method string `json:"method,omitempty"`
	// When lists templates and the values that tell the question from an
	// event; an empty value stands for any but the empty one.
	When map[string]string `json:"when,omitempty"`
	// Signed says that the question is signed like an event and is verified first.
	Signed bool `json:"signed,omitempty"`
	// Token is the template of the verify token, compared with the configured one.
	Token string `json:"token,omitempty"`
	// Challenge is the template of what the answer is made of.
	Challenge string `json:"challenge,omitempty"`
	// Pattern is what a challenge must match as a whole. Default: up to 256
	// letters, digits and `_.~+/=-`. Where the answer is a MAC with the key of
	// the events, it must not match any event.
	Pattern string `json:"pattern,omitempty"`
	// Compute makes {http.relay.challenge.answer} of the challenge: mac-hex,
	// mac-base64, or ebay. Default: none.
	Compute string `json:"compute,omitempty"`
	// Status is the HTTP status of the answer. Default: 200.
	Status int `json:"status,omitempty"`
	// Refuse is the HTTP status where the token is wrong. Default: 403.
	Refuse int `json:"refuse,omitempty"`
	// ContentType is the media type of the answer. Default: text/plain.
	ContentType string `json:"content_type,omitempty"`
	// Header lists headers of the answer and their templates.
	Header map[string]string `json:"header,omitempty"`
	// Body is the template of the answer's body. Default: empty.
	Body string `json:"body,omitempty"`
	// Learn says that the challenge is the secret of the events to come, taken only while one is expected.
	Learn bool `json:"learn,omitempty"`
	// Visit says that the challenge is a URL that is to be fetched.
	Visit bool `json:"visit,omitempty"`
}

// Answer is the reply to a handshake.
type Answer struct {
	// Status is the HTTP status.
	Status int
	// Header holds the headers; reflected text is never sniffed as anything else.
	Header http.Header
	// Body is the body.
	Body []byte
	// Learned is a secret to keep for the events to come, or nil.
	Learned []byte
	// Visit is a URL of the provider to be fetched once, or empty.
	Visit string
}

// defaultChallenge admits nothing that could be JSON, markup or a signed text of ours.
const defaultChallenge = `[A-Za-z0-9_.~+/=-]{1,256}`

// handshake is a Handshake ready for use.
type handshake struct {
	*Handshake
	when            []requirement
	token           *Template
	challenge, body *Template
	header          map[string]*Template
	pattern         *regexp.Regexp
}

func compileHandshake(h *Handshake) (*handshake, error) {
	c := &handshake{Handshake: h, header: make(map[string]*Template)}
	for _, text := range sortedKeys(h.When) {
		t, err := ParseTemplate(text)
		if err != nil {
			return nil, fmt.Errorf("handshake: %w", err)
		}
		c.when = append(c.when, requirement{t, h.When[text]})
	}
	var err error
	for _, part := range []struct {
		text string
		into **Template
	}{{h.Token, &c.token}, {h.Challenge, &c.challenge}, {h.Body, &c.body}} {
		if part.text == "" {
			continue
		}
		if *part.into, err = parseTemplate(part.text); err != nil {
			return nil, fmt.Errorf("handshake: %w", err)
		}
	}
	for name, text := range h.Header {
		if c.header[name], err = parseTemplate(text); err != nil {
			return nil, fmt.Errorf("handshake: %w", err)
		}
	}
	if c.pattern, err = regexp.Compile(`^(?:` + cmp.Or(h.Pattern, defaultChallenge) + `)$`); err != nil {
		return nil, fmt.Errorf("%w: handshake: %w", ErrInvalid, err)
	}
	switch h.Compute {
	case "", "mac-hex", "mac-base64", "ebay":
	default:
		return nil, fmt.Errorf("%w: handshake: unknown computation %q", ErrInvalid, h.Compute)
	}
	return c, nil
}

func compileHandshakes(s *Scheme) ([]*handshake, error) {
	var all []*handshake
	for i := range s.Handshakes {
		h, err := compileHandshake(&s.Handshakes[i])
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// learns reports whether a handshake brings the secret.
func (s *Scheme) learns() bool {
	return slices.ContainsFunc(s.Handshakes, func(h Handshake) bool { return h.Learn })
}

// AcceptedMethods lists the HTTP methods that the provider uses, for events
// and for handshakes, POST first.
func (s *Scheme) AcceptedMethods() []string {
	methods := append([]string{http.MethodPost}, s.Methods...)
	for _, h := range s.Handshakes {
		methods = append(methods, cmp.Or(h.Method, http.MethodPost))
	}
	slices.Sort(methods[1:])
	return append(methods[:1], slices.DeleteFunc(slices.Compact(methods[1:]), func(m string) bool {
		return m == http.MethodPost
	})...)
}

// Handshake answers a request that is a handshake. Both results are nil if it
// is none, and the request is then an event to verify. With an error, a
// [*Failure] for the log, the answer is the refusal.
func (v *Verifier) Handshake(r *Request, now time.Time) (*Answer, error) {
	question := v.unseal(r, maxSealed)
	for _, h := range v.handshakes {
		if !h.asks(question) || h.Learn && !v.options.Expecting {
			continue
		}
		if h.Signed {
			if _, err := v.Verify(r, now); err != nil {
				return refusal(statusOf(err)), err
			}
		}
		return v.answer(h, question)
	}
	return nil, nil
}

// asks reports whether the request is this question.
func (h *handshake) asks(r *Request) bool {
	if r.Method != cmp.Or(h.Method, http.MethodPost) {
		return false
	}
	for _, need := range h.when {
		value, missing := need.template.evaluate(r, &Fields{})
		if missing != nil || need.value == "" && value == "" || need.value != "" && value != need.value {
			return false
		}
	}
	return true
}

func (v *Verifier) answer(h *handshake, r *Request) (*Answer, error) {
	if h.token != nil && !v.tokenFits(h, r) {
		return refusal(cmp.Or(h.Refuse, http.StatusForbidden)),
			&Failure{Scheme: v.scheme.Name, Reason: ErrMismatch, note: "handshake: wrong verify token"}
	}
	f := Fields{}
	if h.challenge != nil {
		challenge, missing := h.challenge.evaluate(r, &f)
		if missing != nil || !h.pattern.MatchString(challenge) {
			return refusal(http.StatusBadRequest),
				&Failure{Scheme: v.scheme.Name, Reason: ErrMalformed, note: "handshake: the challenge is not of the expected form"}
		}
		f.challenge = strings.Clone(challenge)
	}
	return v.write(h, r, f)
}

// statusOf is the status of a refusal.
func statusOf(err error) int {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Status()
	}
	return http.StatusUnauthorized
}

// tokenFits compares digests, so that not even the token's length shows.
func (v *Verifier) tokenFits(h *handshake, r *Request) bool {
	value, missing := h.token.evaluate(r, &Fields{})
	got, want := sha256.Sum256([]byte(value)), sha256.Sum256(v.options.Token)
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && missing == nil && len(v.options.Token) > 0
}

func (v *Verifier) write(h *handshake, r *Request, f Fields) (*Answer, error) {
	a := &Answer{Status: cmp.Or(h.Status, http.StatusOK), Header: make(http.Header)}
	a.Header.Set("X-Content-Type-Options", "nosniff")
	f.answer = v.compute(h, r, f.challenge)
	if p := v.proofs[0]; len(p.keys) > 0 {
		f.keyID = p.keys[0].id
	}
	if h.body != nil {
		a.Body, _ = h.body.append(nil, r, &f)
		a.Header.Set("Content-Type", cmp.Or(h.ContentType, "text/plain"))
	}
	for name, t := range h.header {
		if value, missing := t.append(nil, r, &f); missing == nil {
			a.Header.Set(name, string(value))
		}
	}
	if h.Learn {
		a.Learned = []byte(f.challenge)
	}
	if h.Visit {
		a.Visit = f.challenge
	}
	return a, nil
}

// compute makes the answer that shows who holds the secret.
func (v *Verifier) compute(h *handshake, r *Request, challenge string) string {
	switch h.Compute {
	case "mac-hex", "mac-base64":
		p := v.proofs[0]
		if len(p.keys) == 0 || p.keys[0].sum == nil {
			return ""
		}
		s := v.newScratch()
		defer v.release(s)
		s.message = message{text: []byte(challenge)}
		return Encoding(strings.TrimPrefix(h.Compute, "mac-")).encode(p.keys[0].sum(&s.message, s))
	case "ebay":
		sum := sha256.Sum256([]byte(challenge + string(v.options.Token) + r.baseURL()))
		return hex.EncodeToString(sum[:])
	default:
		return ""
	}
}

func refusal(status int) *Answer {
	return &Answer{Status: status, Header: http.Header{"X-Content-Type-Options": {"nosniff"}}}
}
