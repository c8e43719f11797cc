// SPDX-License-Identifier: Apache-2.0

package scheme

import "errors"

// What [Scheme.Compile] and [Verifier.Sign] can say.
var (
	// ErrNoSecret says that the list of secrets is empty or holds an empty one.
	ErrNoSecret = errors.New("no secret")
	// ErrInvalid says that a description contradicts itself or names something unknown.
	ErrInvalid = errors.New("invalid scheme")
	// ErrKey says that a secret is not in the form that the scheme expects.
	// Messages with it never contain the secret.
	ErrKey = errors.New("unusable secret")
	// ErrTemplate says that a template could not be parsed.
	ErrTemplate = errors.New("invalid template")
	// ErrNoKey is what [Options].Fetch returns where the key service answers
	// that there is no such key, which no retry will change.
	ErrNoKey = errors.New("no such key")
	// ErrCannotSign says that only the provider can make this signature.
	ErrCannotSign = errors.New("cannot sign")
)

// Why a request was refused; a [*Failure] wraps one of these.
var (
	// ErrMissing says that a required header, timestamp or field is absent.
	ErrMissing = errors.New("signature missing")
	// ErrMalformed says that the signature or timestamp can not be read, or is there twice.
	ErrMalformed = errors.New("signature malformed")
	// ErrStale says that the signature is right and its timestamp outside the tolerance.
	ErrStale = errors.New("signature stale")
	// ErrMismatch says that no signature verifies.
	ErrMismatch = errors.New("signature mismatch")
	// ErrUnavailable says that the service that holds the key could not be asked.
	ErrUnavailable = errors.New("key service unavailable")
)
