// SPDX-License-Identifier: Apache-2.0

// Package wire speaks HTTP/1.1 with one upstream for those who send much to
// it and want little back: a status, some headers, the first bytes of a body.
//
// A request is composed into one buffer and written at once; its answer is read
// with the parser of net/http, by the goroutine that has sent it. No other
// goroutine is involved, which is what makes it cheap: net/http's transport has
// two for each connection, and hands every request and every answer over.
//
// What it does not have it does not need: no redirects, no cookies, no
// compression, no proxies, no TLS, and no second try once a byte of a request
// has been written, since nobody knows what has come of that.
//
//	client := wire.New("app.internal:3000", wire.Options{})
//	request := wire.NewRequest()
//	defer request.Release()
//	request.Start("POST", "/hook", "app.example.com")
//	request.Field("Content-Type", "application/json")
//	request.Finish(body)
//	answer, err := client.Do(ctx, request)
//
// The package is a leaf: it imports nothing else of this module.
package wire
