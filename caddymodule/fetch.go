// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

const (
	// fetchSize is how large a key or the answer to a confirmation may be.
	fetchSize = 64 << 10

	// dialTime bounds how long a connection to a provider may take to stand.
	dialTime = 5 * time.Second

	// visitTime bounds one visit.
	visitTime = 10 * time.Second

	// maxVisits is how many visits run at once; providers ask again for more.
	maxVisits = 4
)

// fetcher gets what providers publish: their keys, and the address by which a
// subscription is confirmed. An address comes from a request and its scheme has
// pinned the host, so the fetcher stays there: HTTPS only, no redirects, no proxy,
// and no more than it needs.
type fetcher struct {
	client *http.Client
	keys   *scheme.KeyCache
	visits chan struct{}
	gaps   []time.Duration // between the tries of one visit
}

func newFetcher() *fetcher {
	f := &fetcher{
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:            (&net.Dialer{Timeout: dialTime, Control: onlyPublic}).DialContext,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout:    dialTime,
				ResponseHeaderTimeout:  dialTime,
				MaxResponseHeaderBytes: fetchSize,
				DisableKeepAlives:      true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       visitTime,
		},
		visits: make(chan struct{}, maxVisits),
		gaps:   []time.Duration{2 * time.Second, 10 * time.Second},
	}
	f.keys = scheme.NewKeyCache(f.fetch)
	return f
}

// errPrivate says that a name leads into a network that no provider is in.
var errPrivate = errors.New("its address is not a public one")

// notPublic are networks beside the private ones in which no provider is.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("fec0::/10"),
}

// onlyPublic refuses to connect to any other address, whatever name has led to it.
func onlyPublic(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivate
	}
	ip := target.Addr().Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return errPrivate
	}
	return nil
}

// fetch is a scheme.KeyFetch.
func (f *fetcher) fetch(ctx context.Context, r scheme.KeyRequest) ([]byte, error) {
	target, err := url.Parse(r.URL)
	if err != nil || target.Scheme != "https" || target.Host == "" || target.User != nil {
		return nil, fmt.Errorf("%w: its address is not one of HTTPS", scheme.ErrNoKey)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, target.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", scheme.ErrNoKey, err)
	}
	maps.Copy(request.Header, r.Header)
	response, err := f.client.Do(request)
	if err != nil {
		// What net/http says repeats the whole address, which may hold a token.
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("asking %s: %w", target.Host, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, fetchSize+1))
	switch status := response.StatusCode; {
	case status != http.StatusOK:
		return nil, &scheme.KeyStatusError{Host: target.Host, Status: status, Body: body}
	case err != nil:
		return nil, fmt.Errorf("reading the answer of %s: %w", target.Host, err)
	case len(body) > fetchSize:
		return nil, fmt.Errorf("the answer of %s has more than %d bytes", target.Host, fetchSize)
	}
	return body, nil
}

// visit fetches an address once in the background, as a handshake asks for; a
// visit that fails is tried again a little later. It outlives a reload: the
// provider has had its answer and does not ask again.
func (f *fetcher) visit(address string, log *zap.Logger) {
	select {
	case f.visits <- struct{}{}:
	default:
		log.Warn("too many confirmations at once; this one is dropped")
		return
	}
	go func() {
		defer func() { <-f.visits }()
		for i := 0; ; i++ {
			ctx, cancel := context.WithTimeout(context.Background(), visitTime)
			_, err := f.fetch(ctx, scheme.KeyRequest{Method: http.MethodGet, URL: address})
			cancel()
			if err == nil {
				log.Info("subscription is confirmed")
				return
			}
			if i == len(f.gaps) {
				log.Error("subscription could not be confirmed; have the provider ask for confirmation again", zap.Error(err))
				return
			}
			time.Sleep(f.gaps[i])
		}
	}()
}
