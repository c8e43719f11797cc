// SPDX-License-Identifier: Apache-2.0

package scheme

import "time"

// Shorthands for the rows of the table. The table itself is divided by family
// into the files presets_*.go.
const (
	body = "{http.request.body}"
	ts   = "{http.relay.timestamp}"

	minute = Duration(time.Minute)
	// unchecked is the tolerance of providers who sign a time and check none,
	// or whose retries repeat the first one.
	unchecked = Duration(-1)
)

// in names a value of the JSON body.
func in(path string) string { return "{http.relay.body." + path + "}" }

// header names a header of the request.
func header(name string) string { return "{http.request.header." + name + "}" }

// element names an element of the signature header.
func element(name string) string { return "{http.relay.signature." + name + "}" }

// path is a list of one value of the JSON body.
func path(path string) []string { return []string{in(path)} }

// named is a list of one header.
func named(name string) []string { return []string{header(name)} }

// mac is an HMAC over the body in a header.
func mac(name string, alg Algorithm, e Encoding, prefix string) Proof {
	return Proof{Signature: Signature{Header: name, Prefix: prefix, Encoding: e}, Algorithm: alg}
}

// hexMAC is the commonest of all: HMAC-SHA256 over the body, in hex.
func hexMAC(name string) Proof { return mac(name, HMACSHA256, Hex, "") }

// base64MAC is the next: HMAC-SHA256 over the body, in base64.
func base64MAC(name string) Proof { return mac(name, HMACSHA256, Base64, "") }

// keyed is a proof whose secrets are written in another form.
func keyed(p Proof, form KeyForm) Proof {
	p.Key = form
	return p
}

// stamped is a proof over a message with a time.
func stamped(p Proof, message string, at Timestamp) Proof {
	p.Message, p.Timestamp = message, &at
	return p
}

// fields is an HMAC-SHA256 in hex in a header of fields `time=,tag=`.
func fields(name, time, tag string, unit Unit, tolerance Duration) Proof {
	p := Proof{Signature: Signature{Header: name, Format: KeyValue, Tag: tag, Encoding: Hex}, Algorithm: HMACSHA256}
	return stamped(p, ts+"."+body, Timestamp{Value: element(time), Unit: unit, Tolerance: tolerance})
}

// token is a fixed text in a header.
func token(name string) Proof {
	return Proof{Signature: Signature{Header: name, Encoding: Text}, Algorithm: Token}
}

// basic is HTTP basic authentication; the secret is `user:password`.
func basic() Proof {
	return Proof{Signature: Signature{Header: "Authorization", Prefix: "Basic ", Encoding: Base64}, Algorithm: Token}
}

// standardWebhooks is the proof of Standard Webhooks under headers of that prefix.
func standardWebhooks(prefix string) Proof {
	return standardHeaders(prefix+"-signature", prefix+"-id", prefix+"-timestamp")
}

// standardHeaders is that of Standard Webhooks under other names.
func standardHeaders(signature, id, at string) Proof {
	p := Proof{
		Signature: Signature{Header: signature, Format: Tagged, Tag: "v1", Encoding: Base64},
		Algorithm: HMACSHA256,
		Key:       StandardKey,
	}
	return stamped(p, header(id)+"."+ts+"."+body, Timestamp{Value: header(at), Unit: Seconds, Tolerance: 5 * minute})
}
