// SPDX-License-Identifier: Apache-2.0

package scheme

// documentHead is the introduction of docs/schemes.md.
const documentHead = `# Schemes

<!-- Generated from the table of presets: go test ./relay/scheme -run SchemesDocument -update -->

` + "`verify <name>`" + ` knows how %d kinds of webhooks are signed. This is what it knows of each: the line of the Caddyfile,
where the secret is found, how requests are signed, what makes two of them the same event, and what the provider wants
to hear. What is not here is described with [` + "`verify hmac`" + `](directives/relay.md#verify-hmac).

## Reading the list

In the list ` + "`<name>`" + ` stands for a value of the request: ` + "`<X-Name>`" + ` for a header, ` + "`<body>`" + ` for the raw body, ` + "`<body.a.b>`" + `
for a value of its JSON, ` + "`<form.a>`" + ` for a field of a form, ` + "`<?a>`" + ` for a parameter of the query, ` + "`<time>`" + ` for the time of
signing as it was sent, and a short name such as ` + "`<t>`" + ` for an element of the header with the signature.

**Secret.** The lines read secrets from files: one secret a file, a line end behind it does not count. ` + "`{env.NAME}`" + `
works as well; see [operations](operations.md#secrets). Several secrets on the line make a rotation: any of them
verifies. Where requests name their key, a secret is written ` + "`<key id>:<secret>`" + `, and no other key is tried.

**Proof.** *Signed* (%d) means that nobody without the secret can change the body. *Signed, without the body* (%d): the
signature proves that the provider has sent something at that time, not that it was this. *Authenticated* (%d): requests
carry a fixed text. Who sees one request can send others; use TLS, and take the signed variant where the provider has
one. A signature in hexadecimal digits may be in either case; everything else is decoded strictly.

**Time.** Where the time is signed, requests that are too old or from the future are refused with 400, once their
signature has been found right. A request exactly as old as the limit passes, one any older does not. What waits in the
queue for longer is signed anew for the app.

**Dedupe key.** What makes two requests the same event, unless ` + "`dedupe`" + ` says otherwise. A part that the signature does
not cover is joined by the type and the SHA-256 of the body, so that nobody can make a message look like one that has
been before. Of an authenticated request the body is taken to be the sender's.

**Answer.** What the provider gets once the message is on disk, unless ` + "`respond`" + ` says otherwise. What is not signed gets
401 unless something else is said here.

**Retries.** Whether the provider sends again by itself what it got no 2xx for. Where nothing else is known, it is taken
to.

**Handshake.** A question that the provider asks before it sends events, or now and then. It is answered and not stored.

**Checked with.** What stands behind the row. All presets are tested by signing requests here, or with keys made for the
test; those with requests of the provider have been compared with its own idea. Besides, sixteen libraries of
providers are asked about every change, in ` + "`tests/sdk`" + `.

### The URL

Some providers sign the URL that they have called, or a part of it. Behind a proxy the relay sees another one, so it has to be told:
` + "`public_url`" + ` takes the place of scheme, host and port. Without it the request's own is used. It matters to %s.

### Tokens and learned secrets

A verify token is a text of your own that you type at the provider, and that comes back in its handshake: ` + "`token`" + ` in the
block of %s.

A secret that the handshake itself brings is taken once, while it is expected (` + "`expect_secret`" + `), and kept in the store.
` + "`caddy relay secrets`" + ` shows whether it has come. A secret that you know already is written as for all others. This is
for %s.

### Keys that are fetched

` + "`sns`" + ` and ` + "`paypal`" + ` sign with a key of their own, whose address is in the request, and which is fetched from their hosts
alone. ` + "`constantcontact`, `ebay`, `kinde` and `plaid`" + ` publish theirs at an address that the scheme knows or ` + "`key_service`" + `
names; the request says which key it is, if anything. eBay and Plaid want to know who asks: there the secret is
` + "`<client id>:<client secret>`" + `. For their test environments write ` + "`key_service https://sandbox.plaid.com/webhook_verification_key/get`" + `
or ` + "`key_service https://api.sandbox.ebay.com/commerce/notification/v1/public_key/`" + `.

A key is asked for when a request names it first, over HTTPS, without redirects, and at public addresses only. It is asked
for again every twelve hours, apart from requests; the one before stays in force while that fails. A key that can not be
fetched is 503, so that the provider tries again; one that the provider does not have is 401. A host is asked for at most
one unknown key a minute. Who floods a relay with names of keys that do not exist can not keep a new one out by that: the
networks that requests come from take turns. For that behind a proxy Caddy has to know the clients' addresses
(` + "`trusted_proxies`" + `).

On a machine that can not reach the provider keys are pinned: for ` + "`sns`" + ` and ` + "`paypal`" + ` with ` + "`keys`" + `, for the others as the
secret, ` + "`<key id>:<public key in PEM>`" + ` (` + "`constantcontact`" + `: the key alone). What is pinned is not fetched, and has to be
replaced by hand before the provider takes another.

### What is left out

- What signs nothing: Mailchimp's marketing webhooks (a secret path is all there is), and senders without any secret.
- What is no more: the webhooks of MongoDB's App Services, which ended in 2025 (Atlas alerts are ` + "`mongodb`" + `).
- What nobody here found a description of: Orbit and HostedHooks, which have been given up.
- Weak variants beside a better one: Chargify's MD5 signature, the ` + "`v0`" + ` of Stripe, versions that a provider has replaced
  and calls insecure.
- What signs no body and whose own description could not be read here: the robots of DingTalk and the official accounts
  of WeChat.

## All schemes

`
