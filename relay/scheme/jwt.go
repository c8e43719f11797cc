// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWT says which JSON Web Token proves a request. The algorithm is checked
// against the list, never taken from the token.
type JWT struct {
	// Algorithms are those that the provider uses: HS256, HS384, HS512, RS256, ES256.
	Algorithms []string `json:"algorithms"`
	// KeyIDs says that tokens name their key: each secret is written `<kid>:<key>`.
	KeyIDs bool `json:"key_ids,omitempty"`
	// Issuer is what `iss` must be. Default: any.
	Issuer string `json:"issuer,omitempty"`
	// Claims lists claims that must be there, where the same keys sign tokens for
	// other purposes. Default: none.
	Claims []string `json:"claims,omitempty"`
	// BodyHash is the claim that holds the SHA-256 of the body in hex, present
	// exactly if there is a body. Default: the body is not covered.
	BodyHash string `json:"body_hash,omitempty"`
	// URLHash is the claim that holds the SHA-256 of the URL in hex. Default: the URL is not covered.
	URLHash string `json:"url_hash,omitempty"`
	// QueryHash is the claim that holds the hash of method, path and query as
	// Atlassian Connect makes it. Default: they are not covered.
	QueryHash string `json:"query_hash,omitempty"`
	// MaxAge is how old `iat` may be. Default: not limited, `exp` is.
	MaxAge Duration `json:"max_age,omitempty"`
}

// jwtLeeway is how much two clocks may differ on `nbf` and `exp`.
const jwtLeeway = 2 * time.Second

func (j *JWT) clone() *JWT {
	c := *j
	c.Algorithms, c.Claims = slices.Clone(j.Algorithms), slices.Clone(j.Claims)
	return &c
}

// covers is a template of what the claims speak of.
func (j *JWT) covers() string {
	text := ""
	if j.BodyHash != "" {
		text += body
	}
	if j.URLHash != "" {
		text += "{http.relay.url}"
	}
	if j.QueryHash != "" {
		text += "{http.request.method}{http.request.uri}"
	}
	return text
}

func (j *JWT) check() error {
	if len(j.Algorithms) == 0 {
		return fmt.Errorf("%w: jwt needs algorithms", ErrInvalid)
	}
	symmetric := 0
	for _, alg := range j.Algorithms {
		switch alg {
		case "HS256", "HS384", "HS512":
			symmetric++
		case "RS256", "ES256":
		default:
			return fmt.Errorf("%w: unknown jwt algorithm %q", ErrInvalid, alg)
		}
	}
	if symmetric > 0 && symmetric < len(j.Algorithms) {
		return fmt.Errorf("%w: jwt algorithms with and without a shared secret can not go together", ErrInvalid)
	}
	return nil
}

// newJWTKey binds a secret to the token's algorithms.
func (p *Proof) newJWTKey(secret []byte) (*key, error) {
	if strings.HasPrefix(p.JWT.Algorithms[0], "HS") {
		raw, err := decodeKey(p.Key, secret)
		return &key{jwt: raw}, err
	}
	parsed, err := parsePEM(secret)
	if err != nil {
		return nil, err
	}
	alg := ECDSASHA256
	if p.JWT.Algorithms[0] == "RS256" {
		alg = RSASHA256
	}
	k, err := newAsymmetric(alg, "", parsed)
	if err != nil {
		return nil, err
	}
	k.jwt = parsed
	return k, nil
}

// newJWTPublic binds a published key to those of the algorithms that it is of.
func newJWTPublic(algorithms []string, public any) (*key, error) {
	for _, alg := range algorithms {
		kind := ECDSASHA256
		if alg == "RS256" {
			kind = RSASHA256
		}
		if _, err := newAsymmetric(kind, "", public); err == nil {
			return &key{jwt: public}, nil
		}
	}
	return nil, fmt.Errorf("%w: a key of another kind than %s needs", ErrKey, strings.Join(algorithms, " or "))
}

// public is the key as the parser of tokens wants it.
func (k *key) public() any {
	if private, ok := k.jwt.(crypto.Signer); ok {
		return private.Public()
	}
	return k.jwt
}

func (p *proof) verifyJWT(r *Request, now time.Time, s *scratch) (checked, *Failure) {
	if note := p.collector.collect(r, s); note != "" {
		return checked{}, &Failure{Reason: ErrMalformed, note: note}
	}
	if p.service == nil {
		return p.parseJWT(r, now, s, p.keys)
	}
	id, failure := p.jwtKeyID(s.found[0].text)
	if failure != nil {
		return checked{}, failure
	}
	var result checked
	failure = p.withServiceKeys(r, id, func(keys []*key) *Failure {
		var refused *Failure
		result, refused = p.parseJWT(r, now, s, keys)
		return refused
	})
	return result, failure
}

// jwtKeyID reads which key a token names, unverified. A token that no key could
// verify is refused before one is asked for.
func (p *proof) jwtKeyID(token string) (string, *Failure) {
	unverified, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		return "", &Failure{Reason: ErrMalformed, note: "the token can not be read"}
	}
	if !slices.Contains(p.JWT.Algorithms, unverified.Method.Alg()) {
		return "", &Failure{Reason: ErrMismatch, note: "the token's algorithm is not the provider's"}
	}
	id, _ := unverified.Header["kid"].(string)
	if !p.JWT.KeyIDs {
		id = ""
	}
	return id, nil
}

// parseJWT verifies a token with the first of the keys that fits.
func (p *proof) parseJWT(r *Request, now time.Time, s *scratch, keys []*key) (checked, *Failure) {
	parser := jwt.NewParser(jwt.WithValidMethods(p.JWT.Algorithms), jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithLeeway(jwtLeeway))
	failure := &Failure{Reason: ErrMismatch}
	for _, k := range keys {
		claims := make(jwt.MapClaims)
		_, err := parser.ParseWithClaims(s.found[0].text, claims, func(t *jwt.Token) (any, error) {
			if id, _ := t.Header["kid"].(string); k.id != "" && k.id != id {
				return nil, errors.New("another key")
			}
			return k.public(), nil
		})
		if err == nil {
			signed, refused := p.JWT.claims(claims, r, now)
			return checked{k.index, signed}, refused
		}
		if refused := jwtFailure(err, claims, now); !errors.Is(refused.Reason, ErrMismatch) {
			failure = refused
		}
	}
	return checked{}, failure
}

// jwtFailure sorts the errors of the parser, which checks the signature before
// the claims.
func jwtFailure(err error, claims jwt.MapClaims, now time.Time) *Failure {
	failure := &Failure{Reason: ErrMismatch}
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		failure.Reason = ErrStale
		if at, _ := claims.GetExpirationTime(); at != nil {
			failure.Skew = now.Sub(at.Time)
		}
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		failure.Reason = ErrStale
		if at, _ := claims.GetNotBefore(); at != nil {
			failure.Skew = now.Sub(at.Time)
		}
	case errors.Is(err, jwt.ErrTokenMalformed):
		failure.Reason, failure.note = ErrMalformed, "the token can not be read"
	}
	return failure
}

// claims compares what the token says with the request.
func (j *JWT) claims(claims jwt.MapClaims, r *Request, now time.Time) (time.Time, *Failure) {
	refuse := func(claim string) *Failure {
		return &Failure{Reason: ErrMismatch, note: "claim " + claim + " does not fit the request"}
	}
	if issuer, _ := claims.GetIssuer(); j.Issuer != "" && issuer != j.Issuer {
		return time.Time{}, refuse("iss")
	}
	for _, name := range j.Claims {
		if _, ok := claims[name]; !ok {
			return time.Time{}, &Failure{Reason: ErrMismatch, note: "no claim " + name + ": it is a token for another purpose"}
		}
	}
	if j.URLHash != "" && !hashClaim(claims[j.URLHash], []byte(r.URL)) {
		return time.Time{}, refuse(j.URLHash)
	}
	if j.QueryHash != "" {
		text, ok := atlassianQuery(r)
		if !ok || !hashClaim(claims[j.QueryHash], text) {
			return time.Time{}, refuse(j.QueryHash)
		}
	}
	if j.BodyHash != "" {
		_, present := claims[j.BodyHash]
		if present != (len(r.Body) > 0) || present && !hashClaim(claims[j.BodyHash], r.Body) {
			return time.Time{}, refuse(j.BodyHash)
		}
	}
	var signed time.Time
	if at, _ := claims.GetIssuedAt(); at != nil {
		signed = at.Time
	}
	if j.MaxAge > 0 {
		skew := now.Sub(signed)
		if signed.IsZero() {
			return signed, refuse("iat")
		}
		if limit := time.Duration(j.MaxAge); skew.Abs() > limit {
			return signed, &Failure{Reason: ErrStale, Skew: skew, Limit: limit}
		}
	}
	return signed, nil
}

// hashClaim reports whether a claim is the SHA-256 of content, in hex.
func hashClaim(claim any, content []byte) bool {
	text, _ := claim.(string)
	sum := sha256.Sum256(content)
	want := hex.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(strings.ToLower(text)), []byte(want)) == 1
}

// signJWT makes a token that lasts a minute.
func (p *proof) signJWT(r *Request, now time.Time, k *key) (http.Header, error) {
	secret, ok := k.jwt.([]byte)
	if !ok {
		return nil, fmt.Errorf("%w: only tokens with a shared secret are made", ErrCannotSign)
	}
	claims := jwt.MapClaims{"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	if p.JWT.Issuer != "" {
		claims["iss"] = p.JWT.Issuer
	}
	if p.JWT.QueryHash != "" {
		text, _ := atlassianQuery(r)
		sum := sha256.Sum256(text)
		claims[p.JWT.QueryHash] = hex.EncodeToString(sum[:])
	}
	if p.JWT.URLHash != "" {
		sum := sha256.Sum256([]byte(r.URL))
		claims[p.JWT.URLHash] = hex.EncodeToString(sum[:])
	}
	if p.JWT.BodyHash != "" && len(r.Body) > 0 {
		sum := sha256.Sum256(r.Body)
		claims[p.JWT.BodyHash] = hex.EncodeToString(sum[:])
	}
	token, err := jwt.NewWithClaims(jwt.GetSigningMethod(p.JWT.Algorithms[0]), claims).SignedString(bytes.Clone(secret))
	if err != nil {
		return nil, fmt.Errorf("making a token: %w", err)
	}
	set := make(http.Header)
	set.Set(p.Signature.Header, p.Signature.Prefix+token)
	return set, nil
}
