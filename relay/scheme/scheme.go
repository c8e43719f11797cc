// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Scheme describes how one provider signs its webhooks, and what else a
// receiver must know of it. It is plain data: a preset is a row of the table,
// a scheme of the user's own is the same type, written in the configuration.
type Scheme struct {
	// Name is the word after `verify`.
	Name string `json:"name,omitempty"`
	// Title is what people call the provider.
	Title string `json:"title,omitempty"`
	// Secret says what the secret is and where the provider shows it.
	Secret string `json:"secret,omitempty"`
	// Aliases are other names for the same preset.
	Aliases []string `json:"aliases,omitempty"`

	Proof
	// Also holds other forms that the provider may send instead, such as the
	// same signature under other header names. The first whose signature is
	// in the request decides.
	Also []Proof `json:"also,omitempty"`

	// Sealed is the template of a document that takes the place of the body for
	// handshakes, event id and type, as Lark encrypts it: base64 of AES-256-CBC, its
	// first block being the vector, under the SHA-256 of a secret. What is delivered
	// stays encrypted. Default: nothing is encrypted.
	Sealed string `json:"sealed,omitempty"`
	// EventID holds templates for the sender's own id of the event. The first
	// that the request has a value for counts. One longer than 256 bytes, or
	// with control characters, is none.
	EventID []string `json:"event_id,omitempty"`
	// Type holds templates for the event type, tried as EventID is.
	Type []string `json:"type,omitempty"`
	// Identity holds templates for the parts of the dedupe key, what makes two
	// requests the same event. Default: the event id alone. Where a part is not
	// covered by the signature, the type and the SHA-256 of the body join it;
	// a part that is the whole body stands for its SHA-256.
	Identity []string `json:"identity,omitempty"`
	// IdentityAlone keeps type and body out of the identity although a part of it is not
	// signed, for providers that sign no body.
	IdentityAlone bool `json:"identity_alone,omitempty"`
	// IdentityBody adds type and SHA-256 of the body to the identity, for
	// providers whose id is shared by several events, or who send none.
	IdentityBody bool `json:"identity_body,omitempty"`

	// MaxBody is the largest body that the provider sends, in bytes. Default: the relay's.
	MaxBody int64 `json:"max_body,omitempty"`
	// Response is what the provider wants to hear once the message is safe. Default: an empty 200.
	Response *Response `json:"response,omitempty"`
	// RejectStatus replaces 401 for a provider that wants another one. Default: 401.
	RejectStatus int `json:"reject_status,omitempty"`
	// NoRetries says that the provider never sends again by itself, so that a
	// repeat is a person or a recovery script. Default: it retries.
	NoRetries bool `json:"no_retries,omitempty"`
	// Methods are the HTTP methods besides POST that events come with; those
	// of handshakes are not among them. See [Scheme.AcceptedMethods].
	Methods []string `json:"methods,omitempty"`
	// Handshakes are the questions that the provider asks before it sends events.
	Handshakes []Handshake `json:"handshakes,omitempty"`
	// Unidentified says why the provider's events have no identity unless one is
	// configured, although they may have an id. Default: they have one.
	Unidentified string `json:"unidentified,omitempty"`
}

// Response is what a provider wants as the answer to an event.
type Response struct {
	// Status is the HTTP status. Default: 200.
	Status int `json:"status,omitempty"`
	// Body is the body. Default: empty.
	Body string `json:"body,omitempty"`
	// ContentType is the media type of the body. Default: none.
	ContentType string `json:"content_type,omitempty"`
}

// Proof is one way in which a request proves who sent it.
type Proof struct {
	// Signature says where the signature is and how it is written.
	Signature Signature `json:"signature,omitzero"`
	// Algorithm makes the signature from the key and the signed text.
	Algorithm Algorithm `json:"algorithm,omitempty"`
	// Key says how a secret is written in the configuration. Default: raw.
	Key KeyForm `json:"key,omitempty"`
	// Message is the template of the signed text. Default: the body.
	Message string `json:"message,omitempty"`
	// Timestamp says when the request was signed. Default: the scheme has none.
	Timestamp *Timestamp `json:"timestamp,omitempty"`
	// Canonical names a signed text that no template can express; it takes the
	// place of Message. See [CanonicalForms].
	Canonical string `json:"canonical,omitempty"`
	// KeyID is the template of the id of the key that signed. Each secret is
	// then written `<key id>:<secret>`, and only the one named is tried.
	KeyID string `json:"key_id,omitempty"`
	// KeyURL says where the request's own key is fetched from. The secrets are
	// then what the signed text must agree with.
	KeyURL *KeyURL `json:"key_url,omitempty"`
	// KeyService says where the provider's keys are asked for by their ids.
	KeyService *KeyService `json:"key_service,omitempty"`
	// JWT says that the signature is a JSON Web Token, and what it must claim.
	JWT *JWT `json:"jwt,omitempty"`
	// Require lists templates and the values that they must have.
	Require map[string]string `json:"require,omitempty"`
}

// Signature says where the signature is and how it is written.
type Signature struct {
	// Header is the header that carries it.
	Header string `json:"header,omitempty"`
	// More are further headers that may carry one, each with a key of its own.
	More []string `json:"more,omitempty"`
	// Numbered says that Header is followed by a number from 1 to 100.
	Numbered bool `json:"numbered,omitempty"`
	// Lines says that Header may be sent several times, one signature a line.
	Lines bool `json:"lines,omitempty"`
	// Body is the path of the JSON value that carries it, instead of a header.
	Body string `json:"body,omitempty"`
	// Form is the form field that carries it, instead of a header.
	Form string `json:"form,omitempty"`
	// Query is the query parameter that carries it, instead of a header.
	Query string `json:"query,omitempty"`
	// Whole says that the whole body is the signed token, instead of a header.
	Whole bool `json:"whole,omitempty"`

	// Format is how the value is divided. Default: plain.
	Format Format `json:"format,omitempty"`
	// Prefix stands before the signature and is required.
	Prefix string `json:"prefix,omitempty"`
	// Separator stands between elements. Default: a comma, for tagged a space.
	Separator string `json:"separator,omitempty"`
	// Tag is the key of fields, or the version of a tagged list, that carries a signature.
	Tag string `json:"tag,omitempty"`
	// Field is the name under which the first element of a positional list is known.
	Field string `json:"field,omitempty"`
	// Groups says that the value is several of these, with spaces between, each
	// with fields of its own.
	Groups bool `json:"groups,omitempty"`
	// Quoted says that the values of fields stand in quotes.
	Quoted bool `json:"quoted,omitempty"`
	// Spaces says that elements may have spaces around them.
	Spaces bool `json:"spaces,omitempty"`
	// Encoding is how the signature is written. Default: hex.
	Encoding Encoding `json:"encoding,omitempty"`
}

// Timestamp says where the time of signing is.
type Timestamp struct {
	// Value is the template of the time as sent.
	Value string `json:"value"`
	// Unit is how it is written. Default: told by its shape.
	Unit Unit `json:"unit,omitempty"`
	// Tolerance is how far from now it may be, in both directions. Default: 5m; negative: not enforced.
	Tolerance Duration `json:"tolerance,omitempty"`
	// NoFuture refuses every time later than now. Default: the tolerance holds in both directions.
	NoFuture bool `json:"no_future,omitempty"`
}

// Duration is a time.Duration that JSON writes as text, such as "5m".
type Duration time.Duration

// MarshalJSON writes the duration as time.Duration does.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// UnmarshalJSON reads what time.ParseDuration takes, or a number of nanoseconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) != nil {
		var n int64
		if err := json.Unmarshal(b, &n); err != nil {
			return fmt.Errorf("reading duration: %w", err)
		}
		*d = Duration(n)
		return nil
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("reading duration: %w", err)
	}
	*d = Duration(parsed)
	return nil
}

// Retries reports whether the provider sends again by itself what it got no 2xx for.
func (s *Scheme) Retries() bool { return !s.NoRetries }

// Clone returns a copy that can be changed without touching the original.
func (s *Scheme) Clone() *Scheme {
	c := *s
	c.Aliases = slices.Clone(s.Aliases)
	c.EventID = slices.Clone(s.EventID)
	c.Type = slices.Clone(s.Type)
	c.Identity = slices.Clone(s.Identity)
	c.Methods = slices.Clone(s.Methods)
	c.Handshakes = slices.Clone(s.Handshakes)
	for i := range c.Handshakes {
		c.Handshakes[i].When = maps.Clone(c.Handshakes[i].When)
		c.Handshakes[i].Header = maps.Clone(c.Handshakes[i].Header)
	}
	c.Proof = s.Proof.clone()
	c.Also = slices.Clone(s.Also)
	for i := range c.Also {
		c.Also[i] = c.Also[i].clone()
	}
	if s.Response != nil {
		r := *s.Response
		c.Response = &r
	}
	return &c
}

// proofs returns all forms, the first being the usual one.
func (s *Scheme) proofs() []*Proof {
	all := make([]*Proof, 1, 1+len(s.Also))
	all[0] = &s.Proof
	for i := range s.Also {
		all = append(all, &s.Also[i])
	}
	return all
}
